"""How sequential inner loops are compiled: what numpy cannot do at once for many values, and Python not fast enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def kernel(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Compile a function of arrays and numbers on its first call; the machine code is kept for later runs, where that can be.

    No fast-math: floating-point operations happen as written, so that the results are the same on every machine. The code that
    is kept is renewed when the function's own file changes, not when a constant that it takes from another one does.
    """
    try:
        compiled = _compiled(function, cache=True)
    except RuntimeError:  # no folder can be written to, as in a read-only container
        compiled = _compiled(function, cache=False)
    return cast("Callable[_Parameters, _Result]", compiled)


def _compiled(function: Callable[..., object], *, cache: bool) -> Callable[..., object]:
    return numba.njit(cache=cache, nogil=True, error_model="numpy", fastmath=False)(function)
