"""How sequential inner loops are compiled: what numpy cannot do at once for many values, and Python not fast enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def kernel(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Compile a function of arrays and numbers on its first call; the machine code is kept for later runs.

    No fast-math: floating-point operations happen as written, so that the results are the same on every machine.
    """
    compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(function)
    return cast("Callable[_Parameters, _Result]", compiled)
