"""ZipNN (Hershcovitch et al. 2024), on all tensors of a dtype at once; everything else is as it is by default."""

from __future__ import annotations

from functools import partial
from typing import Any

from .tensors import read_floats
from .worker import serve

_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float32"}  # it knows no float64


class ZipNNCoder:
    """Lossless, hence without a setting. The bytes of the tensors of each dtype are one buffer."""

    usual = None

    def __init__(self, path: str, threads: int) -> None:
        from zipnn import ZipNN

        self._codec = partial(ZipNN, input_format="byte", threads=threads)
        self._path = path
        self.ready()

    def ready(self) -> None:
        """Read the tensors again: ZipNN regroups bits in the very buffer that it is given."""
        self._buffers = self._read()

    def encode(self, setting: None) -> Any:
        """A compressed buffer for each dtype."""
        return _Streams({dtype: self._for(dtype).compress(buffer) for dtype, buffer in self._buffers.items()})

    def decode(self, data: Any) -> Any:
        """The buffers."""
        return {dtype: self._for(dtype).decompress(stream) for dtype, stream in data.streams.items()}

    def relative_mse(self, decoded: Any) -> float:
        """Zero. Raises ValueError where anything is not as it was."""
        if any(bytes(decoded[dtype]) != data for dtype, data in self._read().items()):
            raise ValueError("ZipNN did not give back what it was given")
        return 0.0

    def _for(self, dtype: str) -> Any:
        """A codec of its own for each buffer, as decoding changes a codec's settings."""
        return self._codec(bytearray_dtype=_DTYPES[dtype])

    def _read(self) -> dict[str, bytes]:
        tensors = read_floats(self._path).values()
        dtypes = sorted({tensor.dtype for tensor in tensors})
        return {dtype: b"".join(tensor.data for tensor in tensors if tensor.dtype == dtype) for dtype in dtypes}


class _Streams:
    """Streams by dtype, as long as all of them together."""

    def __init__(self, streams: dict[str, Any]) -> None:
        self.streams = streams

    def __len__(self) -> int:
        return sum(map(len, self.streams.values()))


def main() -> None:
    """Answer weightzip's requests."""
    serve(ZipNNCoder)
