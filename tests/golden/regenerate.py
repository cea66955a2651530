"""Writes the golden files and what they must restore to. Run it deliberately, and only to add files:

    python tests/golden/regenerate.py NAME...      e.g. auto3; without NAME, those that are not there yet

A file that a released version wrote must never change: a version that cannot decode it has broken its users' files. If the
format's version number goes up, copy the old files under names of their own and keep them.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import save_file
from torch import Tensor

import weightzip
from weightzip.codec import decode, encoding

FOLDER = Path(__file__).parent
EXPECTED = FOLDER / "expected.json"


def low_rank(rows: int, columns: int) -> Tensor:
    """A matrix that a few directions explain, as the weights of a trained layer are."""
    return 0.1 * torch.randn(rows, 2) @ torch.randn(2, columns) + 0.01 * torch.randn(rows, columns)


def auto3() -> None:
    """Every kind of shape and lossy dtype, and transforms (auto.wz is of the first codec, auto2.wz of the first format)."""
    state = {
        "smooth": 0.1 * torch.cumsum(torch.randn(12, 16, 15), dim=2).reshape(12, 16, 3, 5),
        "learned": torch.randn(300, 2) @ torch.randn(2, 20) + 0.2 * torch.randn(300, 20),
        "conv.weight": 0.2 * torch.randn(6, 4, 3, 3),
        "conv.bias": torch.randn(6),
        "fc.weight": low_rank(20, 30),
        "scale": torch.tensor(0.7),
        "half": torch.randn(5, 7).half(),
        "brain": torch.randn(5, 7).bfloat16(),
        "double": torch.randn(5, 7, dtype=torch.float64),
        "zeros": torch.zeros(8, 8),
        "empty": torch.zeros(0, 3),
    }
    weightzip.compress(state, FOLDER / "auto3.wz", force=True)


def max_error3() -> None:
    """One absolute step for all tensors, an outlier, and a tensor that is exact as its dtype is too coarse for the error."""
    state = {
        "w": low_rank(16, 16),
        "outlier": torch.cat([torch.randn(30), torch.tensor([-12345.678])]),
        "coarse": (torch.rand(12) + 0.3).bfloat16(),
    }
    weightzip.compress(state, FOLDER / "max_error3.wz", max_error=0.003, force=True)


def paper3() -> None:
    """The paper's preset, with a network small enough for a test (paper.wz: the first codec; paper2.wz: the first format)."""
    settings = weightzip.VAESettings(chunk=64, latent=4, copies=20, validation_copies=5, epochs=40, learning_rate=1e-2)
    state = {"w": low_rank(30, 20), "b": 0.1 * torch.randn(30), "steps": torch.tensor(3)}
    weightzip.compress(state, FOLDER / "paper3.wz", preset="paper", vae=settings, device="cpu", force=True)


def heteroskedastic() -> None:
    """Residuals by class: chunks are large or small by chance, which the network has learned."""
    levels = torch.where(torch.rand(300, 1) < 0.5, 1.0, 1 / 16)
    state = {"w": 0.1 * (levels * torch.randn(300, 16)).view(60, 80), "b": 0.02 * torch.randn(30)}
    _family("heteroskedastic", state, chunk=16, latent=2, hidden=16, copies=8, epochs=30, learning_rate=1e-2, batch_size=32)


def causal() -> None:
    """Of several tensors, so that lanes are broken off, and of more chunks than a lane has."""
    state = {name: torch.cumsum(torch.randn(rows, 16), dim=0) for name, rows in (("a", 10), ("b", 45), ("c", 3))}
    _family("causal", state | {"bias": torch.randn(5).half()}, chunk=16, epochs=5)


def squeezed() -> None:
    """Convolutions, factors and offsets of channels."""
    _family("squeezed", {"w": low_rank(40, 48), "b": 0.1 * torch.randn(20)}, chunk=24, latent=6, epochs=3)


def conditioned() -> None:
    """A network that tells tensors apart."""
    state = {f"w{number}": low_rank(20, 24) + number for number in range(3)}
    _family("conditioned", state, chunk=24, latent=3, epochs=10)


def labelled() -> None:
    """Latents with probabilities behind them."""
    state = {"fc.weight": low_rank(20, 24), "conv.weight": 0.1 * torch.randn(6, 4, 3, 3), "fc.bias": torch.randn(20)}
    _family("labelled", state, chunk=24, latent=3, hidden=12, epochs=10)


def _family(name: str, state: dict[str, Tensor], **given: float) -> None:
    settings = weightzip.VAESettings.of(name, **given)
    weightzip.compress(state, FOLDER / f"{name}.wz", preset="paper", vae=settings, device="cpu", force=True)


def lossless2() -> None:
    """Every dtype, with whatever bits, and every way to code a plane (lossless.wz is of the first codec)."""
    names = "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128"
    names += " float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2 complex32"
    state = {}
    for name in names.split():
        dtype = getattr(torch, name)
        state[name] = torch.randint(0, 2 if name == "bool" else 256, (6 * dtype.itemsize,), dtype=torch.uint8).view(dtype)
    state["special"] = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45])
    state["weights"] = 0.02 * torch.randn(300)
    state["pruned"] = torch.randn(3000) * (torch.rand(3000) < 0.02)
    state["constant"] = torch.full((9000,), 0.1)
    state["counting"] = torch.arange(5000)
    weightzip.compress(state, FOLDER / "lossless2.wz", lossless=True, force=True)


def wrapped2() -> None:
    """A module. prefix, tied weights, integers and NaN, inside a training checkpoint (wrapped.wz is of the first format)."""
    tied = low_rank(12, 8)
    state = {
        "module.encoder.weight": tied,
        "module.decoder.weight": tied,
        "module.norm.num_batches_tracked": torch.tensor(1234),
        "module.mask": torch.tensor([True, False]),
        "module.broken": torch.tensor([float("nan"), 1.0]),
    }
    checkpoint = {"epoch": 7, "state_dict": state, "optimizer": {"state": {0: {"exp_avg": torch.randn(4)}}, "lr": 0.1}}
    weightzip.compress(checkpoint, FOLDER / "wrapped2.wz", force=True)


def parts() -> None:
    """Several parts, lossy and exact ones, which large checkpoints have."""
    state = {f"layer{k}": low_rank(20, 30 + k) for k in range(4)} | {f"ids{k}": torch.arange(k, k + 20) for k in range(3)}
    with mock.patch.multiple(encoding, PART_WEIGHTS=1200, EXACT_PART_BYTES=200):
        weightzip.compress(state, FOLDER / "parts.wz", force=True)


def shards() -> None:
    """A folder of shards with their index."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        model.mkdir()
        weight_map = {}
        for number in (1, 2):
            name = f"model-0000{number}-of-00002.safetensors"
            state = {f"{number}.weight": low_rank(12, 10), f"{number}.bias": torch.randn(12).bfloat16()}
            save_file(state, model / name, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(state, name)
        index = {"metadata": {"total_size": 1008}, "weight_map": weight_map}
        (model / "model.safetensors.index.json").write_text(json.dumps(index))
        weightzip.compress(model, FOLDER / "shards.wz", force=True)


GOLDEN: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        *(auto3, max_error3, paper3, lossless2, wrapped2, parts, shards),
        *(heteroskedastic, causal, squeezed, conditioned, labelled),
    )
}


def describe(file: Path) -> dict[str, list[object]]:
    """What a file restores to: for each of its tensors, in order, its dtype, its shape and the SHA-256 of its bytes."""
    tensors = decode(file.read_bytes()).tensors
    return {
        name: [
            str(tensor.dtype).removeprefix("torch."),
            list(tensor.shape),
            hashlib.sha256(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"").hexdigest(),
        ]
        for name, tensor in tensors.items()
    }


def main(names: list[str]) -> None:
    """Write the files called `names`, and add what they restore to to expected.json."""
    expected = json.loads(EXPECTED.read_text(encoding="utf-8")) if EXPECTED.exists() else {}
    for name in names or [name for name in GOLDEN if name not in expected]:
        torch.manual_seed(0)
        GOLDEN[name]()
        expected[name] = describe(FOLDER / f"{name}.wz")
    EXPECTED.write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
