"""What files make of a checkpoint, tensor by tensor: what each takes, what it lost, and how its values lie before and after."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightzip.codec import Decoded
from weightzip.codec.encoding import Loss
from weightzip.results import Histogram, TensorShare

_BINS = 61  # odd, so that zero is in the middle of one where values lie evenly around it
_OUTSIDE = 0.0005  # of the original's values, on either side: those go to the bins at the ends
_SAMPLE = 1 << 18  # values of a tensor that tell where its bins lie
_BLOCK = 1 << 20  # values counted at a time, which bounds memory
_LEAST, _MOST = 1e-300, 1e300  # width and ends of bins, with which float64 still calculates


class Originals:
    """A checkpoint's tensors, to which those of files are compared; bins are laid once, so that all files have the same."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._bins: dict[str, _Bins | None] = {}

    def shares(self, decoded: Decoded, stored: Mapping[str, float]) -> tuple[TensorShare, ...]:
        """What each tensor of a file took and lost; stored: bytes that are its own."""
        return tuple(self._share(decoded, name, size) for name, size in stored.items())

    def _share(self, decoded: Decoded, name: str, stored_bytes: float) -> TensorShare:
        source, restored = self._tensors[name], decoded.tensors[name]
        bins = self._bins_of(name)
        loss = Loss.of(source, restored) if bins else None
        return TensorShare(
            name=name,
            shape=tuple(source.shape),
            dtype=str(source.dtype).removeprefix("torch."),
            coding="exact" if name in decoded.header.exact else "lossy",
            num_elements=source.numel(),
            stored_bytes=stored_bytes,
            relative_mse=loss.relative_mse if loss else math.nan,
            max_abs_error=loss.largest if loss else math.nan,
            histogram=Histogram(bins.low, bins.high, bins.before, bins.count(restored)) if bins else None,
        )

    def _bins_of(self, name: str) -> _Bins | None:
        if name not in self._bins:
            self._bins[name] = _Bins.of(self._tensors[name])
        return self._bins[name]


@dataclass(frozen=True)
class _Bins:
    """Bins of equal width between low and high; before: how many of the original's values lie in each."""

    low: float
    high: float
    before: tuple[int, ...] = ()

    @staticmethod
    def of(tensor: Tensor) -> _Bins | None:
        """The bins that show a tensor's shape; None where it has no finite weights."""
        if not tensor.dtype.is_floating_point or tensor.dtype == torch.float4_e2m1fn_x2 or not tensor.numel():
            return None
        sample = tensor.reshape(-1)[:: -(-tensor.numel() // _SAMPLE)].double().numpy()
        finite = sample[np.isfinite(sample)]
        if not finite.size:
            return None
        low, high = map(float, np.quantile(np.clip(finite, -_MOST, _MOST), [_OUTSIDE, 1 - _OUTSIDE]))
        if high - low < _LEAST:  # all alike: in the middle
            around = abs(low) if abs(low) > _LEAST else 1.0
            low, high = low - around, low + around
        bins = _Bins(low, high)
        return _Bins(low, high, bins.count(tensor))

    def count(self, tensor: Tensor) -> tuple[int, ...]:
        """How many values lie in each bin; those outside are in the bins at the ends, and NaN is in none."""
        counts = np.zeros(_BINS, np.int64)
        for values in _blocks(tensor):
            places = np.floor((np.clip(values, self.low, self.high) - self.low) * (_BINS / (self.high - self.low)))
            counts += np.bincount(np.clip(places, 0, _BINS - 1).astype(np.int64), minlength=_BINS)
        return tuple(counts.tolist())


def _blocks(tensor: Tensor) -> Iterator[NDArray[np.float64]]:
    """All values but NaN, so many at a time."""
    flat = tensor.reshape(-1)
    for start in range(0, flat.numel(), _BLOCK):
        values = flat[start : start + _BLOCK].double().numpy()
        yield values[~np.isnan(values)]
