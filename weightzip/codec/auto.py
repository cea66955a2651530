"""The default codec: every weight is its own latent, and every byte is counted.

The identity member of the linear-Gaussian family: block = weight, decoder = step size, residual = none.

    tensor --view--> matrix [rows, columns] --/ step--> scales, symbols --entropy code--> sections "scales", "symbols"
                       one step for all matrices (reverse water-filling), finer ones for vectors --> section "steps"

The common step goes by the deviation of the middle weight's matrix, and a matrix far larger or smaller keeps one within reach
of its own: batch norms' variances can be a million times a weight, and must not set the step of anything else.

Steps in proportion to each tensor's deviation, or to its root, were tried: at equal size both cost accuracy on the zoo.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightzip.codec.matrices import CodedMatrices, decode_matrices, encode_matrices, quantise_matrices
from weightzip.entropy import decode_integers, encode_integers
from weightzip.errors import FormatError
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, ProgressEvent, silent
from weightzip.quantise import TRADEOFF

DEFAULT_STEP = 0.5
_VECTOR_FINER = 8.0  # how much finer biases and norms are: few bytes, and each value moves a whole channel
_MOST_FINER, _MOST_COARSER = 8.0, 2.0  # how far the common step may be from a step by the matrix's own deviation
_STEPS_PER_OCTAVE = 4
_MANTISSAS = (1.0, 1.189207115002721, 1.4142135623730951, 1.681792830507429)  # 2^(k/4), written out: the same everywhere
_MAX_EXPONENT = 400
_LARGEST_SYMBOL = 2.0**31
_NEARLY = 0.97


@dataclass(frozen=True)
class AutoCodec:
    """step: size of a quantisation step relative to the weights' deviation; tradeoff: squared steps per bit (0: rounding)."""

    step: float = DEFAULT_STEP
    tradeoff: float = TRADEOFF
    name: ClassVar[str] = "auto"

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Code the tensors; cost grows linearly with the number of weights."""
        views = [_matrix(tensor) for tensor in tensors.values()]
        base, codes = _steps([tensor.dim() for tensor in tensors.values()], views, self.step)
        return _encode(views, base, codes, self.tradeoff, progress)

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors: symbol times step, one rounding each, hence the same on every machine."""
        base = payload.meta.get("step")
        if set(payload.meta) != {"step"} or not isinstance(base, float) or not 0 < base < math.inf:
            raise FormatError("the auto codec's header must hold exactly a positive step size")
        if sorted(payload.sections) != ["scales", "steps", "symbols"]:
            raise FormatError("the auto codec needs exactly the sections scales, steps and symbols")
        coded = CodedMatrices(payload.sections["scales"], payload.sections["symbols"])
        symbols = decode_matrices(coded, [_matrix_shape(spec.shape) for spec in specs])
        codes = decode_integers(payload.sections["steps"], len(specs))
        return {
            spec.name: torch.from_numpy(_from_steps(matrix, _step(base, code))).reshape(spec.shape)
            for spec, matrix, code in zip(specs, symbols, codes, strict=True)
        }


@dataclass(frozen=True)
class BoundedCodec:
    """The same format, with every value of a tensor within `max_errors[name]` of its source, but for float32's rounding."""

    max_errors: Mapping[str, float]
    name: ClassVar[str] = AutoCodec.name

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Code the tensors by plain rounding; cost grows linearly with the number of weights."""
        views = [_matrix(tensor) for tensor in tensors.values()]
        steps = [min(2.0 * self.max_errors[name], sys.float_info.max) for name in tensors]
        # Errors that are all but equal share one step, so that none of them loses up to a quarter octave.
        base = min(step for step in steps if step >= _NEARLY * max(steps)) if steps else 1.0
        codes = [min(0, math.floor(_STEPS_PER_OCTAVE * math.log2(step / base))) for step in steps]
        return _encode(views, base, codes, 0.0, progress)

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """As AutoCodec's."""
        return AutoCodec.decode(payload, specs)


def _encode(
    views: Sequence[NDArray[np.float64]], base: float, codes: Sequence[int], tradeoff: float, progress: Progress
) -> Payload:
    progress(ProgressEvent("coding", 0, 2, "quantising"))
    precision = np.float32 if tradeoff else np.float64  # bargains need no more, and it halves the memory
    scaled = [_in_steps(view, _step(base, code)).astype(precision) for view, code in zip(views, codes, strict=True)]
    matrices = quantise_matrices(scaled, tradeoff=tradeoff)
    progress(ProgressEvent("coding", 1, 2, "entropy coding"))
    coded = encode_matrices(matrices)
    progress(ProgressEvent("coding", 2, 2))
    sections = {"steps": encode_integers(codes), "scales": coded.scales, "symbols": coded.symbols}
    return Payload(sections, {"step": base})


def _matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """[outputs, everything else]; vectors and scalars are one row, and where there is no element there are no rows."""
    if 0 in shape:
        return 0, 0
    rows = shape[0] if len(shape) > 1 else 1
    return rows, math.prod(shape[1:] if len(shape) > 1 else shape)


def _matrix(tensor: Tensor) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = tensor.reshape(_matrix_shape(tuple(tensor.shape))).numpy().astype(np.float64)
    return matrix


def _in_steps(matrix: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """A matrix in units of its step; what no symbol can reach is cut off, and comes back with a large error."""
    with np.errstate(over="ignore"):
        scaled: NDArray[np.float64] = np.clip(matrix / step, -_LARGEST_SYMBOL, _LARGEST_SYMBOL)
    return scaled


def _from_steps(symbols: NDArray[np.int32], step: float) -> NDArray[np.float32]:
    """A matrix from its symbols; infinite where float32 ends, for the pipeline to find."""
    with np.errstate(over="ignore"):
        return (symbols * step).astype(np.float32)


def _steps(ranks: Sequence[int], views: Sequence[NDArray[np.float64]], step: float) -> tuple[float, list[int]]:
    """A base step and, per tensor, its step's distance from it in quarter octaves."""
    sizes = [_deviation(view) for view in views]
    common = _common_deviation(ranks, views, sizes)
    base = float(f"{step * common:.4e}")

    def code(rank: int, view: NDArray[np.float64], deviation: float) -> int:
        if rank < 2:
            wanted = min(step, DEFAULT_STEP) * _vector_size(view) / _VECTOR_FINER
        else:
            wanted = step * min(max(common, deviation / _MOST_FINER), deviation * _MOST_COARSER)
        return round(_STEPS_PER_OCTAVE * math.log2(wanted / base)) if wanted > 0 else 0

    return base, [code(*item) for item in zip(ranks, views, sizes, strict=True)]


def _deviation(view: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(view).mean())) if view.size else 0.0


def _common_deviation(ranks: Sequence[int], views: Sequence[NDArray[np.float64]], deviations: Sequence[float]) -> float:
    """The deviation of the matrix in which the median weight lies; a few tensors of another size do not move it."""
    matrices = sorted((d, view.size) for rank, view, d in zip(ranks, views, deviations, strict=True) if rank > 1 and d > 0)
    if not matrices:
        return max(deviations, default=0.0) or 1.0
    seen = np.cumsum([size for _, size in matrices])
    return matrices[int(np.searchsorted(seen, seen[-1] / 2))][0]


def _vector_size(view: NDArray[np.float64]) -> float:
    """What a vector's step is measured by: its median magnitude, or the smallest one where all values are positive.

    The latter are gains and variances; they multiply or divide, so that even the smallest needs a relative precision.
    """
    magnitudes = np.abs(view[view != 0])
    if not magnitudes.size:
        return 0.0
    typical = np.median(magnitudes) if bool((view < 0).any()) else magnitudes.min()
    return max(float(typical), float(magnitudes.max()) * 2.0**-24)


def _step(base: float, code: int) -> float:
    octaves, quarter = divmod(code, _STEPS_PER_OCTAVE)
    step = base * _MANTISSAS[quarter] * 2.0**octaves if abs(octaves) <= _MAX_EXPONENT else math.inf
    if math.isinf(step):
        raise FormatError("a step size is out of range")
    return step
