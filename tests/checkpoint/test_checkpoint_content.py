"""What a checkpoint may not hold, and how much of it: refused by name."""

import os
from collections import OrderedDict, defaultdict

import pytest
import torch
from checkpoint_refusals import refused
from torch import nn

from weightzip.checkpoint import from_object, rebuild
from weightzip.checkpoint.layout import MAX_JSON_DEPTH
from weightzip.checkpoint.quiet import no_warnings
from weightzip.checkpoint.tree import json_depth
from weightzip.errors import CheckpointError, UnsupportedCheckpointError


class Custom:
    pass


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_tensor(path, layout):
    with no_warnings():
        torch.save({"model": {"w": torch.eye(3).to_sparse(layout=layout)}}, path)
    refused(path, UnsupportedCheckpointError, "sparse", "'model.w'", "to_dense")


def test_quantised_tensor(path):
    with no_warnings():
        torch.save({"w": torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8)}, path)
    refused(path, UnsupportedCheckpointError, "quantised", "qint8", "'w'", "dequantize")


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensor(path, layout):
    with no_warnings():
        tree = {"w": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout)}
        torch.save(tree, path)
    refused(path, UnsupportedCheckpointError, "nested tensor", "unbind")
    with pytest.raises(UnsupportedCheckpointError, match=r"nested tensor at 'w'; .unbind\(\) it"):
        from_object(tree)


def test_tensor_without_data(path):
    torch.save({"w": torch.ones(3, device="meta")}, path)
    refused(path, UnsupportedCheckpointError, "meta", "'w'")


def test_dtype_below_one_byte():
    with pytest.raises(UnsupportedCheckpointError, match=r"int4.*'w'"):
        from_object({"w": torch.empty(3, dtype=torch.int4)})


def test_subclass_of_tensor():
    with pytest.raises(UnsupportedCheckpointError, match=r"UninitializedParameter at 'weight'"):
        from_object(nn.LazyLinear(3))


@pytest.mark.parametrize("value", [Custom(), defaultdict(int), slice(3), "\ud800", object, frozenset(), torch.qint8])
def test_value_that_cannot_be_stored(value):
    with pytest.raises(UnsupportedCheckpointError, match=r"'args\.1'"):
        from_object({"w": torch.ones(2), "args": [0, value]})


@pytest.mark.parametrize("key", [Custom(), torch.ones(2), "\ud800", (1, (2, frozenset()))])
def test_key_that_cannot_be_stored(key):
    with pytest.raises(UnsupportedCheckpointError):
        from_object({"w": torch.ones(2), "args": {key: 1}})


def test_a_name_that_is_no_text_is_named():
    with pytest.raises(UnsupportedCheckpointError, match=r"'a\\udc80' is not valid Unicode"):
        from_object({"a\udc80": torch.ones(2)})
    state = OrderedDict(w=torch.ones(2))
    state._metadata = OrderedDict({"": {"version": 1}, "\udc80": {"version": 1}})
    with pytest.raises(UnsupportedCheckpointError, match=r"'\\udc80' is not valid Unicode"):
        from_object(state)


@pytest.mark.parametrize("name", [b"\xff.pt", b"\xff.safetensors"])
def test_a_file_name_that_is_no_text(path, name):
    odd = path.with_name(os.fsdecode(name))
    odd.write_bytes(b"anything")
    refused(odd, CheckpointError, "not valid Unicode", "rename the file")


def test_attributes_that_would_be_lost():
    state = OrderedDict(w=torch.ones(2))
    state.version = 3
    with pytest.raises(UnsupportedCheckpointError, match="version"):
        from_object({"model": state})


def test_tensor_in_the_metadata_of_a_state_dict():
    state = OrderedDict(w=torch.ones(2))
    state._metadata = OrderedDict({"": {"version": torch.ones(1)}})
    with pytest.raises(UnsupportedCheckpointError, match="where none can be stored"):
        from_object(state)


def test_endless_nesting():
    tree = [torch.ones(1)]
    tree.append(tree)
    with pytest.raises(UnsupportedCheckpointError, match="deeper than 64"):
        from_object(tree)


def test_nesting_that_takes_more_json_than_a_header_has_room_for():
    def tower(levels):
        tree = torch.ones(1)
        for _ in range(levels):
            tree = {"w": torch.ones(1), "below": tree}
        return tree

    assert json_depth(from_object(tower(61)).layout.to_json()) <= MAX_JSON_DEPTH
    with pytest.raises(UnsupportedCheckpointError, match="nested too deeply"):
        from_object(tower(63))


def test_nesting_up_to_the_limit():
    tree = torch.ones(1)
    for _ in range(64):
        tree = {"a": tree}
    checkpoint = from_object(tree)
    assert rebuild(checkpoint.layout, checkpoint.tensors) == tree
    with pytest.raises(UnsupportedCheckpointError, match="deeper than 64"):
        from_object([tree])


def test_container_that_multiplies(monkeypatch):
    monkeypatch.setattr("weightzip.checkpoint.places.MAX_NODES", 1000)
    tree = [torch.ones(1)]
    for _ in range(40):
        tree = [tree, tree]
    with pytest.raises(UnsupportedCheckpointError, match="more than 1,000 values"):
        from_object(tree)


def test_too_many_tensors(monkeypatch):
    monkeypatch.setattr("weightzip.checkpoint.places.MAX_TENSORS", 10)
    with pytest.raises(UnsupportedCheckpointError, match="more than 10 tensors"):
        from_object([torch.ones(1)] * 11)
