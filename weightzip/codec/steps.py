"""Step sizes: one for all matrices by reverse water-filling, and rules for what is more sensitive than its error tells.

Without data, sensitivity is by rule: a vector (bias, norm) has a step by its own size, since it is cheap and each of its
values moves a whole channel, and a matrix far smaller or larger than the rest keeps a step within reach of its own. No vector's
step is coarser than the common one, so that batch norms' variances, which can be a million times a weight, cost a few more bits
and spoil nothing.

Steps in proportion to each tensor's deviation, or to its root, were tried: at equal size both cost accuracy on the zoo.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weightzip.errors import FormatError

DEFAULT_STEP = 0.25
STEPS_PER_OCTAVE = 4
_VECTOR_FINER = 12.0  # how much finer biases and norms are: few bytes, and each value moves a whole channel
_FINEST = 2.0**-30  # of a tensor's largest value: what a symbol can hold
_MOST_FINER, _MOST_COARSER = 8.0, 2.0  # how far the common step may be from a step by the matrix's own deviation
_MANTISSAS = (1.0, 1.189207115002721, 1.4142135623730951, 1.681792830507429)  # 2^(k/4), written out: the same everywhere
_MAX_EXPONENT = 400
_BLOCK = 1 << 20
_MAX_CODE = STEPS_PER_OCTAVE * _MAX_EXPONENT


@dataclass(frozen=True)
class Steps:
    """base: the common fine step; codes: per tensor, its step's distance from it in quarter octaves."""

    base: float
    codes: tuple[int, ...]

    def sizes(self) -> list[float]:
        """The fine step of every tensor. Raises FormatError where one is out of range."""
        return [_step(self.base, code) for code in self.codes]

    def only(self, names: Sequence[str], chosen: Sequence[str]) -> Steps:
        """Those of the chosen tensors among all names, in the order chosen."""
        positions = {name: position for position, name in enumerate(names)}
        return self.at([positions[name] for name in chosen])

    def at(self, positions: Sequence[int]) -> Steps:
        """Those of the tensors at these positions."""
        return Steps(self.base, tuple(self.codes[position] for position in positions))


@dataclass(frozen=True)
class Magnitudes:
    """What steps depend on in a tensor: its rank, elements, root mean square, and largest magnitude.

    typical: a vector's median magnitude, or its smallest where all values are positive: these are gains and variances, which
    multiply or divide, so that even the smallest needs a relative precision. 0 for a matrix, and where there is none.
    """

    rank: int
    num_elements: int
    deviation: float
    largest: float
    typical: float

    @staticmethod
    def of(tensor: Tensor) -> Magnitudes:
        """Those of a floating-point tensor, as float32 has it; looked at in blocks, with little memory."""
        flat = tensor.reshape(-1)
        blocks = [_Block.of(flat[start : start + _BLOCK]) for start in range(0, flat.numel(), _BLOCK)]
        if not blocks:
            return Magnitudes(tensor.dim(), 0, 0.0, 0.0, 0.0)
        deviation = math.sqrt(math.fsum(block.energy for block in blocks) / flat.numel())
        largest = max((block.largest for block in blocks), key=lambda value: math.inf if math.isnan(value) else value)
        return Magnitudes(tensor.dim(), flat.numel(), deviation, largest, _typical(flat.float()) if tensor.dim() < 2 else 0.0)


@dataclass(frozen=True)
class _Block:
    """A sum of squares, and the largest magnitude; NaN if there is one."""

    energy: float
    largest: float

    @staticmethod
    def of(values: Tensor) -> _Block:
        single = values.float()
        low, high = single.aminmax()
        return _Block(float(single.double().square().sum()), float(torch.maximum(low.abs(), high.abs())))


def choose_steps(tensors: Mapping[str, Magnitudes], step: float, shifts: Mapping[str, int]) -> Steps:
    """Steps by the rules above, for a common one of `step` deviations of the weights, each moved by its shift."""
    common = _common_deviation(tensors.values())
    base = float(f"{step * common:.4e}")

    def code(name: str, tensor: Magnitudes) -> int:
        if tensor.rank < 2:
            wanted = min(min(step, DEFAULT_STEP) * tensor.typical / _VECTOR_FINER, base)
        else:
            wanted = step * min(max(common, tensor.deviation / _MOST_FINER), tensor.deviation * _MOST_COARSER)
        quarters = round(STEPS_PER_OCTAVE * math.log2(wanted / base)) + shifts.get(name, 0) if wanted > 0 else 0
        return max(quarters, _finest(tensor.largest, base))

    return Steps(base, tuple(code(name, tensor) for name, tensor in tensors.items()))


def _finest(largest: float, base: float) -> int:
    """The finest code at which a tensor's largest value still has a symbol."""
    return math.ceil(STEPS_PER_OCTAVE * math.log2(largest * _FINEST / base)) if largest else -_MAX_CODE


def _common_deviation(tensors: Iterable[Magnitudes]) -> float:
    """The deviation of the matrix in which the median weight lies; a few tensors of another size do not move it."""
    found = list(tensors)
    matrices = sorted((each.deviation, each.num_elements) for each in found if each.rank > 1 and each.deviation > 0)
    if not matrices:
        return max((each.deviation for each in found), default=0.0) or 1.0
    seen = np.cumsum([size for _, size in matrices])
    return matrices[int(np.searchsorted(seen, seen[-1] / 2))][0]


def _typical(vector: Tensor) -> float:
    magnitudes = vector[vector != 0].abs().numpy()
    if not magnitudes.size:
        return 0.0
    return float(np.median(magnitudes) if bool((vector < 0).any()) else magnitudes.min())


def _step(base: float, code: int) -> float:
    octaves, quarter = divmod(code, STEPS_PER_OCTAVE)
    step = base * _MANTISSAS[quarter] * 2.0**octaves if abs(octaves) <= _MAX_EXPONENT else math.inf
    if not 0 < step < math.inf:
        raise FormatError("a step size is out of range")
    return step
