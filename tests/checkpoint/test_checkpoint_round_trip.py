import copy
import json

import pytest
import torch
from checkpoint_trees import DTYPES, UNPRINTABLE, assert_same, assert_same_aliasing, bits, random_buffer, trees
from hypothesis import given, settings
from torch import nn

from weightzip.checkpoint import Layout, from_object, module_state, read, rebuild, state_dict, write
from weightzip.checkpoint.places import tensors_in
from weightzip.checkpoint.quiet import no_warnings


def through_json(layout):
    return Layout.from_json(json.loads(json.dumps(layout.to_json())))


def torch_save(tree, path):
    with no_warnings():
        torch.save(tree, path)


@settings(max_examples=150, deadline=None)
@given(trees())
def test_any_tree_comes_back(tree):
    before = [(tensor, bits(tensor), tensor.stride()) for _, tensor in tensors_in(tree)]
    checkpoint = from_object(tree)
    assert all(checkpoint.dense(name).is_contiguous() for name in checkpoint.tensors)
    assert not any(tensor.requires_grad for tensor in checkpoint.tensors.values())
    assert checkpoint.weights <= set(checkpoint.tensors)
    layout = through_json(checkpoint.layout)
    assert layout == checkpoint.layout
    restored = rebuild(layout, {name: tensor.clone() for name, tensor in checkpoint.tensors.items()})
    assert_same(tree, restored)
    assert_same_aliasing(tree, restored)
    assert all(bits(tensor) == values and tensor.stride() == stride for tensor, values, stride in before)


@settings(max_examples=80, deadline=None)
@given(trees())
def test_any_file_comes_back(tmp_path_factory, tree):
    folder = tmp_path_factory.mktemp("files")
    torch_save(tree, folder / "source.pt")
    checkpoint = read(folder / "source.pt")
    write(through_json(checkpoint.layout), checkpoint.tensors, folder / "restored.pt", "torch")
    with no_warnings():
        restored = torch.load(folder / "restored.pt", weights_only=True)
    assert_same(tree, restored)
    assert_same_aliasing(tree, restored)


@pytest.mark.parametrize("dtype", [*DTYPES, UNPRINTABLE], ids=str)
def test_every_dtype(tmp_path, dtype):
    with no_warnings():
        state = {"w": random_buffer(dtype, 1).reshape(6, 8), "empty": torch.empty(0, 3, dtype=dtype)}
    torch_save(state, tmp_path / "model.pth")
    checkpoint = read(tmp_path / "model.pth")
    assert {name: tensor.dtype for name, tensor in checkpoint.tensors.items()} == {"w": dtype, "empty": dtype}
    assert_same(state, rebuild(checkpoint.layout, checkpoint.tensors))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64], ids=str)
def test_file_of_an_old_torch(tmp_path, dtype):
    weights = random_buffer(dtype, 1)
    tree = {"w": weights, "half": weights[:24], "step": 3}
    torch.save(tree, tmp_path / "model.bin", _use_new_zipfile_serialization=False)
    checkpoint = read(tmp_path / "model.bin")
    restored = rebuild(checkpoint.layout, checkpoint.tensors)
    assert_same(tree, restored)
    assert_same_aliasing(tree, restored)


def test_plain_state_dict_costs_next_to_nothing():
    state = {f"layers.{i}.weight": torch.zeros(2, 2) for i in range(100)}
    assert from_object(state, "a.pt").layout.to_json() == {"format": "torch", "name": "a.pt"}


def test_module_costs_little_more():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(10, 3))
    layout = from_object(module).layout
    assert len(json.dumps(layout.to_json(), separators=(",", ":"))) < 140
    restored = rebuild(layout, from_object(module).tensors)
    assert_same(module.state_dict(), restored)
    copy.deepcopy(module).load_state_dict(restored)


def test_optimizer_checkpoint_of_a_real_training(tmp_path):
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(module.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    module(torch.randn(3, 5)).sum().backward()
    optimizer.step()
    tree = {
        "epoch": 7,
        "model": nn.DataParallel(module).state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "rng": torch.get_rng_state(),
        "best": torch.tensor(0.5),
    }
    torch_save(tree, tmp_path / "last.ckpt")
    checkpoint = read(tmp_path / "last.ckpt")
    assert checkpoint.weights == set(module.state_dict())
    assert_same(tree, rebuild(through_json(checkpoint.layout), checkpoint.tensors))
    assert_same(dict(tree["model"]), state_dict(checkpoint.layout, checkpoint.tensors))
    assert_same(dict(module.state_dict()), module_state(checkpoint.layout, checkpoint.tensors))


def test_same_file_for_any_hash_seed_and_name(tmp_path):
    checkpoint = from_object({"w": torch.ones(3), "tags": {"b", "a", "c"}})
    assert checkpoint.layout.to_json()["tree"][2]["odd"] == [[1, "tags", ["set", "a", "b", "c"]]]
    for name in ("one.pt", "two.tmp"):
        write(checkpoint.layout, checkpoint.tensors, tmp_path / name, "torch")
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.tmp").read_bytes()


def test_conjugate_and_negative_views_come_back_as_values():
    z = torch.tensor([1 + 2j, 3 - 4j])
    checkpoint = from_object({"z": z, "conj": z.conj(), "neg": z.conj().imag})
    restored = rebuild(checkpoint.layout, checkpoint.tensors)
    assert restored["conj"].tolist() == [1 - 2j, 3 + 4j]
    assert restored["neg"].tolist() == [-2, 4]


def test_extra_state_of_a_module_comes_back():
    class Counting(nn.Linear):
        def get_extra_state(self):
            return {"calls": 3}

        def set_extra_state(self, state):
            self.calls = state["calls"]

    module = Counting(2, 2)
    checkpoint = from_object(module)
    module.load_state_dict(rebuild(through_json(checkpoint.layout), checkpoint.tensors))
    assert module.calls == 3


def test_bare_tensor():
    checkpoint = from_object(torch.arange(3.0))
    assert list(checkpoint.tensors) == ["tensor"]
    assert checkpoint.weights == {"tensor"}
    assert rebuild(through_json(checkpoint.layout), checkpoint.tensors).tolist() == [0, 1, 2]


def test_axis_of_length_one_with_an_odd_stride():
    """torch calls it contiguous, but cannot view its values as bytes."""
    odd = torch.arange(4, dtype=torch.int16)[2:3].as_strided((1, 1), (7, 3))
    base = from_object({"w": odd}).dense("w")
    assert base.reshape(-1).view(torch.uint8).tolist() == [2, 0]


def test_rebuilt_tensors_own_no_more_than_themselves():
    buffer = torch.zeros(1000)
    layout = from_object({"a": torch.zeros(2), "b": torch.zeros(3)}).layout
    restored = rebuild(layout, {"a": buffer[:2], "b": buffer[2:5]})
    assert [tensor.untyped_storage().nbytes() for tensor in restored.values()] == [8, 12]
