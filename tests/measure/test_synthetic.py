import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from weightzip.errors import OutputError, UsageError
from weightzip.measure import synthetic
from weightzip.measure.synthetic import DTYPES, SMALLEST, SyntheticModel, checkpoint_path, tensor_shapes, write_synthetic

SHARDED = SyntheticModel(400_000, seed=3, shard_bytes=150_000)


def written(model: SyntheticModel, folder: Path) -> dict[str, bytes]:
    """What each file holds."""
    folder.mkdir()
    write_synthetic(model, folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@given(st.integers(SMALLEST, 10**12), st.floats(0, 1), st.sampled_from(DTYPES))
def test_sizes_are_about_what_was_asked_for(num_bytes, share, dtype):
    largest = max(4096, int(share * num_bytes)) if share else None
    if num_bytes / (largest or num_bytes) > 1e5:
        largest = None  # a model of a million tensors
    model = SyntheticModel(num_bytes, largest, dtype)
    sizes = {name: model.itemsize * math.prod(shape) for name, shape in tensor_shapes(model).items()}
    assert max(sizes.values()) == sizes["model.embed_tokens.weight"]
    assert 0.5 * model.largest <= max(sizes.values()) <= model.largest
    assert sum(sizes.values()) == pytest.approx(num_bytes, rel=0.15)
    assert min(sizes.values()) > 0


def test_four_gigabytes_are_a_hundred_tensors():
    shapes = tensor_shapes(SyntheticModel(4_000_000_000))
    assert len(shapes) == 101
    assert shapes["model.layers.10.mlp.down_proj.weight"] == (2624, 10496)


@pytest.mark.parametrize("sizes", [(SMALLEST - 1, None), (10**6, 10**6 + 1), (10**6, 100), (10**6, 0)])
def test_sizes_that_no_transformer_has(sizes):
    with pytest.raises(UsageError, match="bytes, not"):
        SyntheticModel(*sizes)


@pytest.mark.parametrize("dtype", DTYPES)
def test_shards_are_what_the_library_reads(tmp_path, dtype):
    model = SyntheticModel(400_000, None, dtype, shard_bytes=150_000)
    names = list(written(model, tmp_path / "model"))
    index = json.loads((tmp_path / "model" / synthetic.INDEX).read_bytes())
    assert checkpoint_path(tmp_path / "model") == tmp_path / "model"
    assert names == [*(f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)), synthetic.INDEX]
    assert list(index["weight_map"]) == list(tensor_shapes(model))
    total = 0
    for name in names[:-1]:
        tensors = load_file(tmp_path / "model" / name)
        assert set(tensors) == {key for key, shard in index["weight_map"].items() if shard == name}
        for key, tensor in tensors.items():
            assert (tuple(tensor.shape), tensor.dtype) == (tensor_shapes(model)[key], getattr(torch, dtype))
            assert tensor.isfinite().all()
        size = sum(tensor.nbytes for tensor in tensors.values())
        assert size <= model.shard_bytes
        total += size
    assert total == index["metadata"]["total_size"]


def test_what_fits_into_one_file_is_one(tmp_path):
    assert list(written(SyntheticModel(400_000), tmp_path / "model")) == [synthetic.SINGLE]
    assert checkpoint_path(tmp_path / "model") == tmp_path / "model" / synthetic.SINGLE


def test_a_tensor_larger_than_a_shard_has_one_for_itself(tmp_path):
    model = SyntheticModel(400_000, 200_000, shard_bytes=150_000)
    assert len(written(model, tmp_path / "model")["model-00001-of-00003.safetensors"]) > 190_000


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first, again, other = (
        written(SyntheticModel(400_000, seed=seed, shard_bytes=150_000), tmp_path / name)
        for seed, name in ((3, "first"), (3, "again"), (4, "other"))
    )
    assert first == again
    assert all(first[name] != other[name] for name in first if name != synthetic.INDEX)


def test_blocks_leave_no_trace(tmp_path, monkeypatch):
    whole = written(SHARDED, tmp_path / "whole")
    monkeypatch.setattr(synthetic, "_BLOCK", 1000)
    assert written(SHARDED, tmp_path / "parts") == whole


def test_no_two_tensors_are_alike(tmp_path):
    written(SyntheticModel(400_000), tmp_path / "model")
    tensors = load_file(tmp_path / "model" / synthetic.SINGLE).values()
    assert len({hashlib.sha256(tensor.numpy().tobytes()).digest() for tensor in tensors}) == len(tensors)


def test_rows_and_columns_have_scales_that_vary_differently(tmp_path):
    """Or one scale and one table of symbols would suit the whole checkpoint."""
    written(SyntheticModel(4_000_000), tmp_path / "model")
    matrices = [tensor for tensor in load_file(tmp_path / "model" / synthetic.SINGLE).values() if tensor.dim() == 2]
    for dim in (0, 1):
        spreads = torch.stack([matrix.square().mean(dim).log().div(2).std() for matrix in matrices])
        assert spreads.min() < 0.25
        assert spreads.max() > 0.5


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 399_000})())
    with pytest.raises(OutputError, match="only 399,000 are free"):
        write_synthetic(SyntheticModel(400_000), tmp_path)
    assert list(tmp_path.iterdir()) == []
