"""An environment with stand-ins for NNCodec and ZipNN: the same calls and the same vices, and quick to start."""

import shlex
import sys
from pathlib import Path

_NN = """
import json, zlib
import numpy as np

print("noise on import")

def encode(model, args):
    {before}
    print("noise", flush=True)
    assert args["use_dq"] is True
    step = 2.0 ** (args["qp"] / 4)
    shapes = {{name: values.shape for name, values in model.items()}}
    assert all(shape[0] >= 0 and model[name].dtype == np.float32 for name, shape in shapes.items())
    symbols = [np.rint(values / step).astype(np.int32).tobytes() for values in model.values()]
    return bytearray(json.dumps([step, shapes]).encode() + b"\\n" + zlib.compress(b"".join(symbols)))

def decode(data):
    head, _, body = bytes(data).partition(b"\\n")
    step, shapes = json.loads(head)
    symbols, model = np.frombuffer(zlib.decompress(body), np.int32), {{}}
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        model[name], symbols = (symbols[:count] * np.float32(step)).reshape(shape), symbols[count:]
    {after}
    return model
"""

_ZIPNN = """
import ctypes, zlib

class ZipNN:
    def __init__(self, input_format, bytearray_dtype, threads):
        assert (input_format, threads) == ("byte", 1)
        self.head = bytearray_dtype.encode() + b" "

    def compress(self, data):
        packed = self.head + zlib.compress(data)
        ctypes.memset(ctypes.cast(data, ctypes.c_void_p), 0, len(data))
        return packed

    def decompress(self, packed):
        assert packed.startswith(self.head)
        return bytearray({restored})
"""


def write_peers(
    folder: Path, *, before: str = "pass", after: str = "pass", restored: str = "zlib.decompress(packed[len(self.head):])"
) -> Path:
    """Write both peers; returns the interpreter that has them.

    before, after: what NNCodec does before it encodes and after it has decoded `model`. restored: what ZipNN gives back.
    """
    modules = folder / "lib"
    _write(modules / "nncodec" / "__init__.py", "")
    _write(modules / "nncodec" / "nn.py", _NN.format(before=before, after=after))
    _write(modules / "nncodec-9.8.7.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: nncodec\nVersion: 9.8.7\n")
    _write(modules / "zipnn.py", _ZIPNN.format(restored=restored))
    _write(modules / "torch.py", "def set_num_threads(threads): assert threads == 1")
    return write_interpreter(folder, modules)


def write_interpreter(folder: Path, modules: Path) -> Path:
    """This interpreter, with `modules` to import from."""
    path = folder / "bin" / "python"
    _write(path, f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(modules))} exec {shlex.quote(sys.executable)} "$@"\n')
    path.chmod(0o755)
    return path


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
