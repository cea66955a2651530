"""The files that are mutated: small ones of every preset, codec and feature."""

from __future__ import annotations

import json
import tempfile
from collections import Counter, OrderedDict
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from weightzip import checkpoint
from weightzip.baselines import CODECS as BASELINES
from weightzip.codec import AutoCodec, LosslessCodec, encode
from weightzip.interface import Codec

GOLDEN = Path(__file__).parents[1] / "golden"
_SLOW = ("causal", "conditioned", "squeezed")  # of families whose networks take long; there are others of the same codec


def corpus() -> dict[str, bytes]:
    """All files by name; the same each time."""
    golden = {path.stem: path.read_bytes() for path in sorted(GOLDEN.glob("*.wz")) if path.stem not in _SLOW}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return golden | _made()


def _made() -> dict[str, bytes]:
    state = _state()
    with mock.patch.multiple("weightzip.codec.encoding", PART_WEIGHTS=300, EXACT_PART_BYTES=64):
        files = {
            "auto in parts": _packed(state, AutoCodec()),
            "lossless in parts": _packed(state, LosslessCodec()),
        }
    files["planes"] = _packed(_planes(), LosslessCodec())
    files["tree"] = _packed(_tree(), AutoCodec())
    files["module"] = _packed(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).state_dict(), LosslessCodec())
    files["shards"] = _shards()
    floating = {name: tensor.float() for name, tensor in state.items() if tensor.is_floating_point()}
    return files | {f"baseline {name}": _packed(floating, codec()) for name, codec in sorted(BASELINES.items())}


def _packed(tree: object, codec: Codec) -> bytes:
    return encode(checkpoint.from_object(tree), codec).pack()


def _state() -> dict[str, Tensor]:
    return {
        "a.weight": 0.1 * torch.randn(16, 3) @ torch.randn(3, 16),
        "a.bias": torch.randn(16),
        "b.weight": torch.randn(6, 4, 3, 3).half(),
        "b.steps": torch.tensor(12),
        "c.weight": torch.randn(20, 12).bfloat16(),
        "c.mask": torch.rand(40) < 0.5,
        "d.weight": torch.randn(4, 70),
        "d.broken": torch.tensor([float("nan"), -0.0]),
    }


def _planes() -> dict[str, Tensor]:
    """Whatever ways exact tensors are stored in: constant, packed, coded and recurring planes, zeros of both signs."""
    pruned = torch.randn(3000) * (torch.rand(3000) < 0.3)
    return {
        "normal": torch.randn(3000),
        "half": torch.randn(3000).half(),
        "brain": torch.randn(3000).bfloat16(),
        "double": torch.randn(400).double(),
        "pruned": -pruned,
        "constant": torch.full((100,), 3.5),
        "recurring": torch.randn(50).repeat(20),
        "indices": torch.arange(500),
        "noise": torch.randint(0, 256, (2000,), dtype=torch.uint8),
        "complex": torch.randn(60, dtype=torch.complex64),
        "empty": torch.zeros(0, 2),
    }


def _tree() -> object:
    base = torch.randn(8, 8)
    model = OrderedDict(w=base, tied=base, row=base[2], expanded=base[:1].expand(5, 8), p=nn.Parameter(torch.randn(6)))
    plain = {
        "none": None,
        "tuple": (1, 2.5, "größe", b"bytes", bytearray(b"more"), 1 << 80, float("inf"), 1 - 2j),
        "set": {1, 2},
        "counter": Counter("abca"),
        "keys": {1: "one", (2, 3): "two"},
        "torch": [torch.float16, torch.Size([2, 3]), torch.device("cpu"), torch.strided],
    }
    return {"state_dict": model, "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [plain]}}


def _shards() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.mkdir()
        names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
        save_file({"a.weight": torch.randn(6, 5), "a.bias": torch.randn(6)}, path / names[0], {"format": "pt"})
        save_file({"b.weight": torch.randn(3, 4)}, path / names[1], {"format": "pt"})
        places = {"a.weight": names[0], "a.bias": names[0], "b.weight": names[1]}
        index = {"metadata": {"total_size": 192}, "weight_map": places}
        (path / "model.safetensors.index.json").write_text(json.dumps(index))
        return encode(checkpoint.read(path), AutoCodec()).pack()
