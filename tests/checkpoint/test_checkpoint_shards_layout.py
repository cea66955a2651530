import copy
import json
from pathlib import Path, PureWindowsPath

import pytest
import torch
from checkpoint_trees import assert_same
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.checkpoint import Layout, read, rebuild, write
from weightzip.checkpoint.shards import is_plain_name
from weightzip.errors import FormatError, WeightzipError

SHARDS = ["m.safetensors.index.json", "{}", ["a.safetensors", 2], ["b.safetensors", 1, {"format": "pt"}]]
BASE = {"format": "shards", "name": "folder", "shards": SHARDS}


def with_part(position, value):
    return BASE | {"shards": [*SHARDS[:position], value, *SHARDS[position + 1 :]]}


def test_every_field_survives_json():
    assert Layout.from_json(copy.deepcopy(BASE)).to_json() == BASE


@pytest.mark.parametrize(
    "obj",
    [
        {"format": "shards", "name": "folder"},
        BASE | {"format": "torch"},
        BASE | {"shards": {}},
        BASE | {"shards": []},
        BASE | {"shards": SHARDS[:2]},
        with_part(0, "index.json"),
        with_part(0, "../m.safetensors.index.json"),
        with_part(0, 3),
        with_part(1, "[]"),
        with_part(1, "{"),
        with_part(1, "[" * 100_000),
        with_part(1, '{"weight_map": {}}'),
        with_part(1, None),
        with_part(2, ["../a.safetensors", 2]),
        with_part(2, ["/etc/a.safetensors", 2]),
        with_part(2, ["a.pt", 2]),
        with_part(2, ["B.safetensors", 2]),
        with_part(2, ["a.safetensors"]),
        with_part(2, ["a.safetensors", 0]),
        with_part(2, ["a.safetensors", -1]),
        with_part(2, ["a.safetensors", True]),
        with_part(2, ["a.safetensors", 1.0]),
        with_part(2, ["a.safetensors", 1 << 40]),
        with_part(2, ["a.safetensors", 2, None]),
        with_part(2, ["a.safetensors", 2, {"a": 1}]),
        with_part(2, ["a.safetensors", 2, {}, {}]),
        with_part(2, [3, 2]),
        with_part(2, None),
        BASE | {"tree": ["state", 2]},
        BASE | {"tree": ["state", 4]},
        BASE | {"shards": [*SHARDS[:2], *([f"{i}.safetensors", 1] for i in range((1 << 16) + 1))]},
    ],
    ids=lambda obj: json.dumps(obj)[:90],
)
def test_malformed_shards_are_refused(obj):
    with pytest.raises(FormatError, match="layout"):
        Layout.from_json(obj)


@pytest.mark.parametrize("count", [2, 4])
def test_counts_that_do_not_add_up_are_refused(tmp_path, count):
    layout = Layout.from_json(BASE)
    with pytest.raises(FormatError, match=f"shards of 3 tensors, where there are {count}"):
        write(layout, {f"w{i}": torch.ones(1) for i in range(count)}, tmp_path, "shards")
    assert list(tmp_path.iterdir()) == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.sampled_from(["a.safetensors", "../x.safetensors", "{}", "", "a"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["format", "weight_map"]), inner),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.data())
def test_any_change_is_refused_or_harmless(tmp_path_factory, data):
    """Replace one node by something else: an error of ours, or files in the folder, and nowhere else."""
    obj = copy.deepcopy(BASE)
    node, key = obj, "shards"
    while node[key] and isinstance(node[key], (dict, list)) and data.draw(st.booleans()):
        node = node[key]
        key = data.draw(st.sampled_from(sorted(node)) if isinstance(node, dict) else st.integers(0, len(node) - 1))
    node[key] = data.draw(VALUES)
    top = tmp_path_factory.mktemp("fuzz")
    (top / "in").mkdir()
    tensors = {f"w{i}": torch.ones(1) for i in range(3)}
    try:
        write(Layout.from_json(obj), tensors, top / "in", "shards")
    except WeightzipError:
        return
    assert [path.name for path in top.iterdir()] == ["in"]
    assert_same(tensors, rebuild(read(top / "in").layout, tensors))


@given(st.text(max_size=12).map(lambda text: text + ".safetensors"))
def test_plain_names_stay_in_their_folder(name):
    if is_plain_name(name, ".safetensors"):
        assert Path("folder", name).resolve() == Path("folder").resolve() / name
        assert PureWindowsPath("folder", name).parts == ("folder", name)
