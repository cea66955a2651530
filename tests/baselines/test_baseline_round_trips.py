"""What holds for every baseline: shapes, order, purity, determinism, and that damage raises FormatError alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.baselines import (
    CODECS,
    Cast,
    Codebook,
    DeepCompression,
    LowRank,
    MagnitudePruning,
    UniformQuantisation,
    Zstd,
    sweep,
)
from weightzip.errors import FormatError
from weightzip.interface import Payload, TensorSpec

EVERY_KIND = [
    Cast("float16"),
    Cast("bfloat16"),
    Codebook(3),
    DeepCompression(0.6, 3),
    LowRank(0.3),
    LowRank(0.3, "float32"),
    MagnitudePruning(0.7, "global"),
    MagnitudePruning(0.7, "layer", "float32"),
    UniformQuantisation(4, "tensor"),
    UniformQuantisation(3, "channel"),
    Zstd(3),
    Zstd(3, "planes"),
]
each_kind = pytest.mark.parametrize("codec", EVERY_KIND, ids=str)

SHAPES = st.one_of(
    st.sampled_from([(), (0,), (3, 0), (0, 70), (1, 1), (64, 1), (1, 64), (7, 9), (8, 8), (4, 3, 5, 5), (2, 1, 2, 2, 17)]),
    st.lists(st.integers(0, 12), max_size=3).map(tuple),
)
# Laws that real and odd tensors follow: bell-shaped, wide, tiny, few values, constant, one outlier.
LAWS = {
    "gaussian": lambda rng, shape: rng.normal(0, 0.05, shape),
    "heavy": lambda rng, shape: rng.standard_cauchy(shape),
    "tiny": lambda rng, shape: rng.normal(0, 1e-40, shape),
    "huge": lambda rng, shape: rng.uniform(-1, 1, shape) * 3.4e38,
    "ternary": lambda rng, shape: rng.integers(-1, 2, shape),
    "zero": lambda rng, shape: np.zeros(shape),
    "outlier": lambda rng, shape: np.where(rng.random(shape) < 0.02, -1e30, rng.normal(0, 1, shape)),
}


@st.composite
def models(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kinds = draw(st.lists(st.tuples(SHAPES, st.sampled_from(sorted(LAWS))), max_size=5))
    arrays = [np.asarray(LAWS[law](rng, shape)).astype(np.float32) for shape, law in kinds]
    return {f"tensor.{i}": torch.from_numpy(array.copy()) for i, array in enumerate(arrays)}


@each_kind
@settings(max_examples=25, deadline=None)
@given(tensors=models())
def test_names_order_and_shapes_come_back_finite_and_the_input_stays(recode, codec, tensors):
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    restored = recode(codec, tensors)
    assert list(restored) == list(tensors)
    for name, tensor in tensors.items():
        assert restored[name].shape == tensor.shape
        assert restored[name].dtype == torch.float32
        assert torch.isfinite(restored[name]).all()
        assert torch.equal(tensor, before[name])


@each_kind
def test_strides_do_not_matter(recode, codec, gaussian):
    transposed = {"weight": gaussian["weight"].T}
    contiguous = {"weight": gaussian["weight"].T.contiguous()}
    assert torch.equal(recode(codec, transposed)["weight"], recode(codec, contiguous)["weight"])


@each_kind
def test_the_same_input_gives_the_same_bytes(codec, gaussian):
    assert codec.encode(gaussian) == codec.encode(gaussian)


@each_kind
def test_a_restored_tensor_owns_writable_memory(recode, codec, gaussian):
    restored = recode(codec, gaussian)
    restored["weight"] += 1
    restored["bias"] += 1


@pytest.mark.parametrize("codec", [c for c in EVERY_KIND if not isinstance(c, Zstd)], ids=str)
def test_progress_names_every_compressed_tensor(codec, gaussian):
    events = []
    codec.encode({**gaussian, "second": gaussian["weight"]}, events.append)
    assert {"weight", "second"} <= {event.detail for event in events}
    assert [event.done for event in events] == list(range(1, events[-1].total + 1))


@pytest.mark.parametrize("codec", [c for c in EVERY_KIND if not isinstance(c, (Cast, Zstd))], ids=str)
def test_small_tensors_are_kept_in_float16(recode, codec):
    tensors = {"bias": torch.randn(1000), "scalar": torch.tensor(0.1), "kernel": torch.randn(7, 9)}
    restored = recode(codec, tensors)
    assert all(torch.equal(restored[name], tensor.half().float()) for name, tensor in tensors.items())


@pytest.mark.parametrize("codec", [c for c in EVERY_KIND if not isinstance(c, Zstd)], ids=str)
def test_a_small_tensor_beyond_half_precision_keeps_its_values(recode, codec):
    tensors = {"running_var": torch.tensor([1e6, 2.0]), "adam": torch.tensor([1e-9, 2e-9])}
    restored = recode(codec, tensors)
    assert all(torch.allclose(restored[name], tensor, rtol=2**-8, atol=0) for name, tensor in tensors.items())


@pytest.mark.parametrize("codec", EVERY_KIND, ids=str)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_sections_are_refused_or_decode_to_the_right_shapes(codec, data):
    """Damage that hashes would catch first must still not raise anything but FormatError."""
    payload = codec.encode({"weight": torch.linspace(-1, 1, 640).reshape(8, 80), "bias": torch.ones(5)})
    specs = [TensorSpec("weight", (8, 80), "float32"), TensorSpec("bias", (5,), "float32")]
    section = data.draw(st.sampled_from(sorted(payload.sections)))
    damaged = bytearray(payload.sections[section])
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] ^= data.draw(st.integers(1, 255))
    damaged = damaged[: data.draw(st.integers(position, len(damaged)))]
    try:
        restored = CODECS[codec.name].decode(Payload({**payload.sections, section: bytes(damaged)}, payload.meta), specs)
    except FormatError:
        return
    assert [tuple(tensor.shape) for tensor in restored.values()] == [(8, 80), (5,)]


def test_the_registry_knows_every_codec_of_the_sweep():
    assert {codec.name for _, _, codec in sweep()} == set(CODECS)
    assert all(name.startswith("baseline/") for name in CODECS)


def test_the_sweep_has_curves_of_distinct_points():
    points = sweep()
    assert len({(method, setting) for method, setting, _ in points}) == len(points)
    assert len({codec for _, _, codec in points}) == len(points)


def test_the_sweep_of_a_method_goes_from_large_to_small(section_bytes, gaussian):
    sizes: dict[str, list[int]] = {}
    for method, _, codec in sweep():
        if method not in ("zstd", "Deep Compression"):  # these have two settings each
            sizes.setdefault(method, []).append(section_bytes(codec, {"weight": gaussian["weight"][:40]}))
    assert all(found == sorted(found, reverse=True) for found in sizes.values())
