import contextlib
import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.checkpoint import (
    Layout,
    default_output,
    default_tensor_output,
    dtype_name,
    dtype_of,
    from_object,
    rebuild,
)
from weightzip.checkpoint.aliases import View
from weightzip.errors import FormatError, UnsupportedCheckpointError

BASE = {"format": "torch", "name": "a.pt"}


def deep(levels):
    node = None
    for _ in range(levels):
        node = ["list", node]
    return node


def deep_tuple(levels):
    node = 1
    for _ in range(levels):
        node = ["tuple", node]
    return node


@pytest.mark.parametrize(
    "obj",
    [
        None,
        [],
        {},
        {"format": "torch"},
        BASE | {"format": "onnx"},
        BASE | {"name": 3},
        BASE | {"surprise": 1},
        BASE | {"prefix": 3},
        BASE | {"metadata": {"a": 1}},
        BASE | {"metadata": []},
        BASE | {"views": {}},
        BASE | {"views": [[0, 0]]},
        BASE | {"kinds": [[4, 1]]},
        BASE | {"kinds": [[0, -1]]},
        BASE | {"kinds": [[1, 1 << 40]]},
        BASE | {"model": [3]},
        BASE | {"model": [[1.5]]},
    ],
)
def test_malformed_fields_are_refused(obj):
    with pytest.raises(FormatError, match="layout"):
        Layout.from_json(obj)


@pytest.mark.parametrize(
    "tree",
    [
        [],
        [3],
        ["t", 1],
        ["unknown"],
        ["state"],
        ["state", -1],
        ["state", 1.0],
        ["state", True],
        ["state", 1, {}, {}],
        ["state", 1, {"surprise": 1}],
        ["state", 1, {"skip": -1}],
        ["state", 1, {"add": 1}],
        ["state", 1, {"ordered": 1}],
        ["state", 1, {"odd": {}}],
        ["state", 1, {"odd": [[1, "a"]]}],
        ["state", 1, {"odd": [[0]]}],
        ["state", 1, {"odd": [[0, 1]]}],
        ["state", 2, {"odd": [[0, "a"], [0, "a"]]}],
        ["state", 2, {"odd": [[0, "a"], [1, "a"]]}],
        ["state", 1, {"metadata": []}],
        ["state", 1, {"metadata": {"surprise": 1}}],
        ["state", 1, {"metadata": {"add": [[-1]]}}],
        ["state", 1, {"metadata": {"add": [["a", 1]]}}],
        ["state", 1, {"metadata": {"values": [[1, 2]]}}],
        ["state", 1, {"metadata": {"values": [[1, [-2]]]}}],
        ["dict", 1],
        ["dict", ["list"], 1],
        ["dict", ["t"], 1],
        ["dict", {}, 1],
        ["dict", ["tuple", ["t"]], 1],
        ["dict", ["bytearray", "eA=="], 1],
        ["set", ["t"]],
        ["set", deep_tuple(70)],
        ["dict", 1, 2, 1, 2],
        ["dict", 1, 2, True, 2],
        ["set", ["list"]],
        ["int", "zz"],
        ["int", 5],
        ["float", "abc"],
        ["float", 1],
        ["complex", "1"],
        ["bytes", "?"],
        ["bytearray", 3],
        ["size", 1.5],
        ["dtype", "float33"],
        ["dtype", "Tensor"],
        ["device", "nowhere"],
        ["device", 0],
        ["layout", "nn"],
        ["layout", []],
        deep(65),
        {1: 2},
    ],
    ids=lambda tree: json.dumps(tree)[:40],
)
def test_malformed_trees_are_refused(tree):
    with pytest.raises(FormatError):
        Layout.from_json(BASE | {"tree": tree})


@pytest.mark.parametrize("tree", [["state", 10**12], ["list", *[["state", 600]] * 2]])
def test_too_many_tensors_are_refused(monkeypatch, tree):
    monkeypatch.setattr("weightzip.checkpoint.layout.MAX_TENSORS", 1000)
    with pytest.raises(FormatError, match="tensor 1000 out of range"):
        Layout.from_json(BASE | {"tree": tree})


@pytest.mark.parametrize(
    "views",
    [
        [[0]],
        [[0, 1]],
        [[2, 0]],
        [[1, -1]],
        [[1, 0], [1, 0]],
        [[1, 0, [2], [1, 1], 0]],
        [[1, 0, [2], [-1], 0]],
        [[1, 0, [2], [1], -1]],
        [[1, 0, [2], [1], 1 << 64]],
        [[1, 0, 2, 1, 0]],
        [[1, 0, [1] * 65, [1] * 65, 0]],
        [[1, 0, [2**50 + 1], [0], 0]],
        [[1, 0, [2**26, 2**26], [0, 0], 0]],
        [[1, 0, [0, 2**63 - 1], [0, 0], 0]],
    ],
)
def test_malformed_views_are_refused(views):
    with pytest.raises(FormatError, match="layout"):
        Layout.from_json(BASE | {"tree": ["list", ["t"], ["t"]], "views": views})


@pytest.mark.parametrize(
    "tree",
    [
        ["list", ["t"]],
        ["list", ["t"], ["t"], ["t"]],
        ["state", 2, {"skip": 1}],
        ["state", 2, {"metadata": {"add": [[5, "x"]]}}],
        ["state", 2, {"metadata": {"values": [[{"version": 2}, [9]]]}}],
    ],
)
def test_tensors_that_do_not_fit_are_refused(tree):
    layout = Layout.from_json(BASE | {"tree": tree})
    with pytest.raises(FormatError, match="layout"):
        rebuild(layout, {"a": torch.ones(2), "b": torch.ones(2)})


def test_parameter_of_integers_that_wants_gradients_is_refused():
    layout = Layout.from_json(BASE | {"tree": ["list", ["t"]], "kinds": [[2, 1]]})
    with pytest.raises(FormatError, match="int64"):
        rebuild(layout, {"a": torch.arange(2)})


SAMPLE = from_object(
    {
        "model": torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).state_dict(),
        "extra": [
            1,
            (2.5, None),
            {"a": {1, 2}},
            torch.float16,
            b"x",
            torch.nn.Parameter(torch.ones(3)).unfold(0, 2, 1),
        ],
    }
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | st.sampled_from(["t", "state", "list", "dict", "a", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["odd", "metadata", "add"]), inner),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_change_is_refused_or_harmless(data):
    """Replace one node of a real layout by something else: a FormatError, or a tree of some kind; nothing else."""
    obj = copy.deepcopy(SAMPLE.layout.to_json())
    node, key = obj, data.draw(st.sampled_from(sorted(obj)))
    while node[key] and isinstance(node[key], (dict, list)) and data.draw(st.booleans()):
        node = node[key]
        key = data.draw(st.sampled_from(sorted(node)) if isinstance(node, dict) else st.integers(0, len(node) - 1))
    node[key] = data.draw(VALUES)
    with contextlib.suppress(FormatError):
        rebuild(Layout.from_json(obj), SAMPLE.tensors)


def test_default_values_are_not_written():
    assert Layout("safetensors", "a.safetensors").to_json() == {"format": "safetensors", "name": "a.safetensors"}


def test_every_field_survives_json():
    layout = Layout(
        format="torch",
        source_name="ä.pt",
        tree=["list", ["t"], ["t"]],
        views=((1, View(0, ((2,), (1,), 3))),),
        kinds=((2, 1), (3, 1)),
        model=(("model", 0), ()),
        prefix="module.",
        metadata={"a": "b"},
    )
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


@pytest.mark.parametrize(
    ("source_name", "expected"),
    [
        ("model.pt", "model.pt"),
        ("weights", "weights"),
        ("Größe 1.pt", "Größe 1.pt"),
        ("../../.bashrc", "bashrc"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\x.pt", "x.pt"),
        ("C:\\x.pt", "x.pt"),
        ("C:x.pt", "C_x.pt"),
        ("a\x00b\n.pt", "a_b_.pt"),
        ("..", "model.pt"),
        ("", "model.pt"),
        ("a/", "model.pt"),
        ("~/x", "x"),
        ("a" * 300 + ".pt", "a" * 197 + ".pt"),
        ("\ud800.pt", "_.pt"),
    ],
)
def test_default_output_is_a_harmless_base_name(source_name, expected):
    assert default_output(Layout("torch", source_name)) == expected


def test_default_output_of_a_nameless_safetensors_file():
    assert default_output(Layout("safetensors", "/")) == "model.safetensors"


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        ("fc1.weight", "fc1.weight.pt"),
        ("../../.ssh/config", "_.._.ssh_config.pt"),
        ("C:\\x", "C__x.pt"),
        ("", "tensor.pt"),
        ("...", "tensor.pt"),
        ("-f", "f.pt"),
        ("größe\n", "gr__e_.pt"),
        ("\ud800", "_.pt"),
        ("a" * 300, "a" * 150 + ".pt"),
        ("Model", "Model.tensor.pt"),
    ],
)
def test_default_tensor_output_is_a_harmless_base_name_and_not_the_sources(tensor, expected):
    assert default_tensor_output(Layout("torch", "model.pt"), tensor) == expected


def test_default_tensor_output_has_the_sources_format():
    assert default_tensor_output(Layout("safetensors", "model.safetensors"), "w") == "w.safetensors"


def test_dtype_names():
    assert dtype_name(torch.float8_e4m3fn) == "float8_e4m3fn"
    assert dtype_of("bfloat16") is torch.bfloat16
    with pytest.raises(FormatError, match="float33"):
        dtype_of("float33")
    with pytest.raises(UnsupportedCheckpointError, match="int4"):
        dtype_name(torch.int4)
