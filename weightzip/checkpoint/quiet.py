"""torch warns of dtypes in trial, of sparse checks and of old pickles; what matters of that is raised as an error."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Keep warnings of other libraries from the user while the block runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
