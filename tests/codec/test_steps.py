import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightzip.codec.steps import DEFAULT_STEP, STEPS_PER_OCTAVE, Magnitudes, Steps
from weightzip.codec.steps import choose_steps as choose_steps_by_magnitude
from weightzip.errors import FormatError


def normal(*shape, deviation=1.0, seed=0):
    """Values of exactly this deviation."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values * (deviation / values.square().mean().sqrt())


def choose_steps(tensors, step, shifts):
    return choose_steps_by_magnitude({name: Magnitudes.of(tensor) for name, tensor in tensors.items()}, step, shifts)


def sizes_of(tensors, step=DEFAULT_STEP, shifts=None):
    steps = choose_steps(tensors, step, shifts or {})
    return dict(zip(tensors, steps.sizes(), strict=True))


def octaves(ratio):
    return math.log2(ratio)


@pytest.mark.parametrize("step", [0.01, 0.3, 2.0])
def test_a_matrix_alone_has_steps_of_its_deviation(step):
    steps = choose_steps({"w": normal(30, 40, deviation=0.02)}, step, {})
    assert steps.codes == (0,)
    assert steps.base == pytest.approx(0.02 * step, rel=1e-4)
    assert steps.base == float(f"{steps.base:.4e}")  # few digits: it is stored as text


def test_all_matrices_of_about_one_size_share_a_step():
    """Reverse water-filling: the same error everywhere, so that small matrices get fewer bits."""
    tensors = {str(size): normal(40, 50, deviation=size) for size in (0.6, 1.0, 1.5, 5.0)}
    assert len(set(sizes_of(tensors).values())) == 1


def test_the_common_step_is_of_the_matrix_with_the_median_weight():
    tensors = {
        "large": normal(100, 100, deviation=1.0),
        "small but wide": normal(60, 60, deviation=40.0),
        "tiny": normal(5, 5, deviation=1e-6),
        "empty": torch.zeros(0, 7),
        "zero": torch.zeros(200, 200),
        "vector": torch.full((10**5,), 1e9),
    }
    assert choose_steps(tensors, 0.5, {}).base == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("deviation", "expected"),
    [
        (1.0, 1.0),
        (7.9, 1.0),  # up to eight times as large: the common step
        (64.0, 8.0),  # beyond: an eighth of its own
        (0.51, 1.0),
        (0.125, 0.25),  # below half: twice its own
        (1e-9, 2e-9),
        (1e9, 1.25e8),
    ],
)
def test_a_matrix_of_another_size_keeps_a_step_within_reach_of_its_own(deviation, expected):
    tensors = {"w": normal(100, 100), "other": normal(9, 9, deviation=deviation)}
    found = sizes_of(tensors)
    assert abs(octaves(found["other"] / (expected * found["w"]))) <= 0.126  # half a quarter octave


@pytest.mark.parametrize(
    ("vector", "typical"),
    [
        ([-0.2, 0.1, -0.1, 0.1, 0.0, 3.0], 0.1),  # signs of both kinds: the median magnitude, zeros aside
        ([4.0, 0.5, 2.0, 8.0], 0.5),  # gains and variances: the smallest
        ([0.0, 0.25, 7.0], 0.25),
        ([-0.3], 0.3),
    ],
)
def test_a_vector_has_steps_of_its_own_size(vector, typical):
    tensors = {"w": normal(100, 100, deviation=50.0), "b": torch.tensor(vector)}
    assert abs(octaves(sizes_of(tensors)["b"] / (DEFAULT_STEP * typical / 12))) <= 0.126


def test_a_scalar_is_a_vector():
    tensors = {"w": normal(100, 100, deviation=50.0), "t": torch.tensor(0.6)}
    assert abs(octaves(sizes_of(tensors)["t"] / (DEFAULT_STEP * 0.6 / 12))) <= 0.126


def test_no_vectors_step_is_coarser_than_the_common_one():
    tensors = {"w": normal(100, 100), "running_var": torch.full((64,), 1e6)}
    found = sizes_of(tensors)
    assert abs(octaves(found["running_var"] / found["w"])) <= 0.126


def test_a_vectors_largest_value_stays_within_reach_of_a_symbol():
    tensors = {"w": normal(100, 100), "b": torch.tensor([1e-30, 1e12])}
    found = sizes_of(tensors)["b"]
    assert 0 <= octaves(found / (1e12 * 2.0**-30)) <= 0.25


@pytest.mark.parametrize("step", [1.0, 4.0])
def test_vectors_stay_fine_where_matrices_get_coarse(step):
    """They are few bytes, and each value moves a whole channel."""
    tensors = {"w": normal(100, 100), "b": normal(100, deviation=0.1)}
    coarse, usual = sizes_of(tensors, step), sizes_of(tensors)
    assert coarse["w"] == pytest.approx(usual["w"] * step / DEFAULT_STEP, rel=1e-3)
    assert abs(octaves(coarse["b"] / usual["b"])) <= 0.251


def test_vectors_get_finer_with_the_matrices():
    tensors = {"w": normal(100, 100), "b": normal(100, deviation=0.1)}
    assert abs(octaves(sizes_of(tensors, 0.003)["b"] / sizes_of(tensors, 0.3)["b"]) - math.log2(0.01)) <= 0.251


def test_shifts_are_added_in_quarter_octaves():
    tensors = {"w": normal(100, 100), "v": normal(100, 100, seed=1), "b": normal(100)}
    plain = choose_steps(tensors, 0.3, {})
    moved = choose_steps(tensors, 0.3, {"v": 5, "b": -2})
    assert moved.base == plain.base
    assert [b - a for a, b in zip(plain.codes, moved.codes, strict=True)] == [0, 5, -2]
    assert moved.sizes()[1] == pytest.approx(plain.sizes()[1] * 2 ** (5 / 4))


@pytest.mark.parametrize(
    "tensors",
    [
        {"w": torch.zeros(4, 4)},
        {"w": torch.zeros(0, 4), "b": torch.zeros(0)},
        {"b": torch.zeros(3)},
        {"b": torch.tensor(0.0)},
        {},
    ],
    ids=lambda tensors: ", ".join(str(tuple(tensor.shape)) for tensor in tensors.values()) or "none",
)
def test_nothing_but_zeros_has_any_step(tensors):
    steps = choose_steps(tensors, 0.3, {})
    assert len(steps.codes) == len(tensors)
    assert all(0 < size < math.inf for size in [steps.base, *steps.sizes()])


@given(
    st.lists(st.tuples(st.sampled_from([(3,), (), (4, 5), (2, 3, 2)]), st.floats(2.0**-130, 2.0**120)), min_size=1, max_size=5)
)
def test_any_sizes_have_positive_steps_that_reach_every_value(parts):
    tensors = {
        str(index): (normal(*shape, seed=index) * deviation).float().clamp(-3e38, 3e38)
        for index, (shape, deviation) in enumerate(parts)
    }
    for name, size in sizes_of(tensors).items():
        assert 0 < size < math.inf
        assert float(tensors[name].abs().max()) / size <= 2.0**30


def test_quarter_octaves_are_the_same_on_every_machine():
    sizes = Steps(1.0, (-5, -4, -1, 0, 1, 2, 3, 4, 9)).sizes()
    assert [size.hex() for size in sizes] == [
        "0x1.ae89f995ad3adp-2", "0x1.0000000000000p-1", "0x1.ae89f995ad3adp-1", "0x1.0000000000000p+0",
        "0x1.306fe0a31b715p+0", "0x1.6a09e667f3bcdp+0", "0x1.ae89f995ad3adp+0", "0x1.0000000000000p+1",
        "0x1.306fe0a31b715p+2",
    ]  # fmt: skip
    assert STEPS_PER_OCTAVE == 4


def test_only_keeps_the_order_chosen():
    steps = Steps(0.5, (1, 2, 3))
    assert steps.only(["a", "b", "c"], ["c", "a"]) == Steps(0.5, (3, 1))
    assert steps.only(["a", "b", "c"], []) == Steps(0.5, ())
    assert steps.at([2, 0]) == Steps(0.5, (3, 1))


@pytest.mark.parametrize(
    ("base", "code"),
    [(1.0, 4 * 401), (1.0, -4 * 402), (1.0, 2**31 - 1), (1.0, -(2**31) + 1), (1e300, 4 * 100), (1.7e308, 1)],
)
def test_a_step_out_of_range_is_refused(base, code):
    with pytest.raises(FormatError, match="out of range"):
        Steps(base, (0, code)).sizes()


def test_a_step_of_zero_is_out_of_range():
    """Smaller than any float64: as a step it would make every value zero, and divide by zero where one encodes."""
    with pytest.raises(FormatError, match="out of range"):
        Steps(1e-300, (-4 * 399,)).sizes()
