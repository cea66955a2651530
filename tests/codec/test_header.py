import copy
import math

import pytest
import torch

from weightzip.checkpoint import MAX_RANK, from_object
from weightzip.codec import AutoCodec, Header, encode
from weightzip.codec.header import MAX_NAME_BYTES
from weightzip.errors import FormatError, LimitError

HUGE = 10**400  # an integer that JSON allows and no float holds


@pytest.fixture(scope="module")
def header():
    state = {"w": torch.randn(3, 4), "half": torch.randn(2).half(), "steps": torch.tensor(7), "nan": torch.tensor([math.nan])}
    return encode(from_object(state), AutoCodec()).header


@pytest.fixture
def stored(header):
    return copy.deepcopy(header.to_json())


def refuses(stored, match, error=FormatError):
    with pytest.raises(error, match=match):
        Header.from_json(stored)


def test_json_round_trip(header, stored):
    parsed = Header.from_json(stored)
    assert parsed.tensors == header.tensors
    assert parsed.exact == {"steps", "nan"}
    assert parsed.to_json() == stored


def test_the_usual_dtype_and_coding_cost_nothing(stored):
    assert stored["tensors"] == [
        ["w", [3, 4]],
        ["half", [2], "float16"],
        ["steps", [], "int64", 1],
        ["nan", [1], "float32", 1],
    ]


def test_what_it_counts(header):
    assert header.num_weights == 12 + 2 + 1
    assert header.tensor_bytes == 48 + 4 + 8 + 4


@pytest.mark.parametrize("field", ["codec", "meta", "tensors", "layout", "error"])
def test_a_missing_field(stored, field):
    del stored[field]
    refuses(stored, "lacks a field")


def test_an_unknown_field(stored):
    refuses({**stored, "surprise": 1}, "does not know")


def test_a_codec_that_is_no_string(stored):
    refuses({**stored, "codec": 1}, "codec is malformed")


def test_a_meta_that_is_no_object(stored):
    refuses({**stored, "meta": []}, "codec is malformed")


@pytest.mark.parametrize("tensors", [None, {}, [], "w"])
def test_no_tensors(stored, tensors):
    refuses({**stored, "tensors": tensors}, "names no tensors")


@pytest.mark.parametrize(
    "entry",
    [
        "w",
        [],
        ["w"],
        [1, [2]],
        ["w", 2],
        ["w", [2], 32],
        ["w", [2], "float32", 2],
        ["w", [2], "float32", 0],
        ["w", [2], "float32", 1, 1],
        {"name": "w"},
    ],
)
def test_a_tensor_described_in_an_unknown_way(stored, entry):
    refuses({**stored, "tensors": [entry]}, "in an unknown way")


@pytest.mark.parametrize(
    "shape",
    [
        [-1],
        [1.0],
        [True],
        [None],
        [[2]],
        ["2"],
        [2**51],
        [2**26, 2**26],
        [HUGE],
        [HUGE] * 64,
        [0, 2**63],
        [0, HUGE],
        [2**26, 0, 2**26],
    ],
)
def test_an_impossible_shape(stored, shape):
    refuses({**stored, "tensors": [["w", shape]]}, "'w' has an impossible shape")


def test_an_unknown_dtype(stored):
    refuses({**stored, "tensors": [["w", [2], "float1"]]}, "unknown dtype 'float1'")


def test_a_dtype_is_looked_up_by_name_only(stored):
    refuses({**stored, "tensors": [["w", [2], "nn"]]}, "unknown dtype 'nn'")


def test_too_many_dimensions(stored):
    Header.from_json({**stored, "tensors": [["w", [1] * MAX_RANK]]})
    refuses({**stored, "tensors": [["w", [1] * (MAX_RANK + 1)]]}, "^tensor 'w' has more than 64 dimensions$", LimitError)


def test_too_long_a_name(stored):
    Header.from_json({**stored, "tensors": [["ü" * (MAX_NAME_BYTES // 2), [1]]]})
    shown = "ü" * 60
    name = f"{shown}{'ü' * (MAX_NAME_BYTES // 2 - 60)}x"
    refuses({**stored, "tensors": [[name, [1]]]}, f"^tensor '{shown}...' has a name of more than 4096 bytes$", LimitError)


def test_too_many_tensors(stored, monkeypatch):
    monkeypatch.setattr("weightzip.codec.header.MAX_TENSORS", 3)
    refuses(stored, "names 4 tensors; at most 3", LimitError)


@pytest.mark.parametrize("dtype", ["bool", "int64", "complex64", "float8_e4m3fn", "float4_e2m1fn_x2"])
def test_a_dtype_that_cannot_be_lossy(stored, dtype):
    Header.from_json({**stored, "tensors": [["w", [2], dtype, 1]]})
    refuses({**stored, "tensors": [["w", [2], dtype]]}, f"'w' is marked as lossy, which {dtype} cannot be")


@pytest.mark.parametrize(
    "change",
    [
        {"tensors": [["a\udc80", [2]]]},
        {"layout": {"format": "torch", "name": "x.pt", "prefix": "a\udc80"}},
        {"layout": {"format": "safetensors", "name": "x", "metadata": {"a\udc80": "b"}}},
        {"layout": {"format": "safetensors", "name": "x", "metadata": {"b": "a\udc80"}}},
        {"layout": {"format": "torch", "name": "x.pt", "tree": {"a\udc80": ["t"]}}},
    ],
)
def test_a_name_that_is_no_text(stored, change):
    refuses({**stored, **change}, r"not valid Unicode: '\\udc80'")


def test_a_tensor_named_twice(stored):
    refuses({**stored, "tensors": [["w", [1]], ["w", [2]]]}, "a tensor twice")


@pytest.mark.parametrize(
    "error", [None, [], [0.0], [0.0, 0.0, 0.0], ["0", 0], [True, 0], [math.nan, 0], [0, math.inf], [HUGE, 0]]
)
def test_malformed_errors(stored, error):
    refuses({**stored, "error": error}, "errors are malformed")


@pytest.mark.parametrize("latents", [-1, 1.0, True, None, "1"])
def test_a_malformed_number_of_latents(stored, latents):
    refuses({**stored, "latents": latents}, "number of latents is malformed")


def test_a_malformed_layout(stored):
    refuses({**stored, "layout": {"format": "exe", "name": "x"}}, "layout: unknown format")
