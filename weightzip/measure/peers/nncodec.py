"""NNCodec, the reference coder of ISO/IEC 15938-17, with dependent quantisation; everything else is as it is by default.

Floating-point tensors are coded as float32. NNCodec fails on tensors without dimensions; they are given one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .tensors import read_floats
from .worker import serve


class NNCodecCoder:
    """A setting is NNCodec's quantisation parameter: an integer; three or four more double the step size."""

    usual = -20

    def __init__(self, path: str, threads: int) -> None:
        import torch
        from nncodec import nn

        torch.set_num_threads(threads)
        self._codec = nn
        self._source = {name: np.atleast_1d(stored.float32()) for name, stored in read_floats(path).items()}

    def ready(self) -> None:
        """NNCodec leaves its input as it is."""

    def encode(self, setting: int) -> Any:
        """The bit stream."""
        # "results" is a folder, this process's own: the codec insists on one, even if it only returns the stream.
        return self._codec.encode(self._source, {"qp": int(setting), "use_dq": True, "verbose": False, "results": "."})

    def decode(self, data: Any) -> Any:
        """Arrays by name."""
        return self._codec.decode(data)

    def relative_mse(self, decoded: Any) -> float:
        """Against the float32 values, summed in float64."""
        error = energy = 0.0
        for name, values in self._source.items():
            original = values.astype(np.float64)
            error += float(np.square(np.asarray(decoded[name], np.float64).reshape(values.shape) - original).sum())
            energy += float(np.square(original).sum())
        return error / energy if energy else 0.0


def main() -> None:
    """Answer weightzip's requests."""
    serve(NNCodecCoder)
