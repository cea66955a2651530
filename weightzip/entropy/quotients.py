"""Division by small constants through their reciprocals, exact and several times as fast as the machine's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray


def reciprocals(largest: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """(reciprocals, shifts) [largest + 1]: floor(x / d) is `high_product(x, reciprocals[d]) >> shifts[d]`, for 0 < x < 2^63.

    For d = 1 that is one too small, as 2^64 is out of reach; entries of d = 0 stand for nothing. (Granlund & Montgomery 1994.)
    """
    bits = [(divisor - 1).bit_length() for divisor in range(largest + 1)]
    exact = [-(-(1 << 63 + bits[divisor]) // divisor) for divisor in range(2, largest + 1)]
    shifts = [bits[divisor] - 1 for divisor in range(2, largest + 1)]
    return np.array([0, 2**64 - 1, *exact], np.uint64), np.array([0, 0, *shifts], np.uint64)


def _high_product(context: Any, first: Any, second: Any) -> tuple[Any, Callable[..., Any]]:
    """The upper 64 bits of the product of two uint64, within kernels: numba has no integers of 128 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


high_product: Any = intrinsic(_high_product)  # takes two uint64; only within kernels
