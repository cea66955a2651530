"""weightzip's own codecs and zstd, each in a process of its own, measured by the very code that measures the peers.

Started as `python -m weightzip.measure.own CODEC`, with the further arguments of `peers.worker`.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
import zstandard

from weightzip import checkpoint as checkpoints
from weightzip.checkpoint import Checkpoint
from weightzip.codec import AutoCodec, Decoded, LosslessCodec, decode, encode
from weightzip.interface import Codec
from weightzip.measure.peers.worker import Coder, serve
from weightzip.threads import limited_threads

ZSTD_LEVEL = 19  # the highest without a larger window, and what the lossless codec uses for all but the largest checkpoints


class AutoCoder:
    """The default codec. A setting is its step size."""

    usual = AutoCodec().step

    def __init__(self, path: str, threads: int) -> None:
        self._checkpoint, self._threads = _in_memory(path), threads

    def ready(self) -> None:
        """Codecs leave their input as it is."""

    def encode(self, setting: float) -> bytes:
        """The whole .wz file, decoded once to be sure of it."""
        with limited_threads(self._threads):  # as the verbs do
            return encode(self._checkpoint, self._codec(setting)).pack()

    def decode(self, data: bytes) -> Decoded:
        """The tensors, with all checks of the file."""
        with limited_threads(self._threads):
            return decode(data)

    def relative_mse(self, decoded: Decoded) -> float:
        """As the file says."""
        return decoded.header.relative_mse

    def _codec(self, setting: float) -> Codec:
        return AutoCodec(setting)


class LosslessCoder(AutoCoder):
    """The same for `--lossless`, without a setting."""

    def _codec(self, setting: float) -> Codec:
        return LosslessCodec()


class ZstdCoder:
    """The bytes of all floating-point tensors in one frame: what zstd makes of a file, but for its header."""

    usual = None

    def __init__(self, path: str, threads: int) -> None:
        floats = [tensor for tensor in _in_memory(path).tensors.values() if tensor.dtype.is_floating_point]
        self._data = b"".join(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() for tensor in floats)
        self._threads = threads if threads > 1 else 0  # 0: in this thread

    def ready(self) -> None:
        """Bytes do not change."""

    def encode(self, setting: None) -> bytes:
        """One frame."""
        return zstandard.ZstdCompressor(level=ZSTD_LEVEL, threads=self._threads).compress(self._data)

    def decode(self, data: bytes) -> bytes:
        """The bytes."""
        return zstandard.ZstdDecompressor().decompress(data)

    def relative_mse(self, decoded: bytes) -> float:
        """Zero. Raises ValueError where anything is not as it was."""
        if decoded != self._data:
            raise ValueError("zstd did not give back what it was given")
        return 0.0


def _in_memory(path: str) -> Checkpoint:
    """The checkpoint with its tensors in memory: reading maps them, and they would count as the codec's."""
    found = checkpoints.read(path)
    return replace(found, tensors={name: tensor.clone() for name, tensor in found.tensors.items()})


CODERS: dict[str, type[Coder]] = {"auto": AutoCoder, "lossless": LosslessCoder, "zstd": ZstdCoder}

if __name__ == "__main__":
    serve(CODERS[sys.argv[1]])
