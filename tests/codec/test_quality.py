import math
import zlib

import pytest
import torch

from weightzip.checkpoint import from_object
from weightzip.codec import LosslessCodec, decode, encode
from weightzip.codec.auto import AutoCodec
from weightzip.codec.quality import _groups, meet_drop
from weightzip.progress import silent

GENERATOR = torch.Generator().manual_seed(0)
STATE = {
    "fragile": torch.randn(60, 70, generator=GENERATOR),
    "sturdy": torch.randn(70, 60, generator=GENERATOR),
    "bias": torch.randn(30, generator=GENERATOR),
}
NUM_WEIGHTS = 2 * 60 * 70 + 30


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """A search takes some sixty probes: each with prices that are fitted only once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weightzip.codec.symbols._PASSES", ((1 << 17, 1),))
        yield


def damage(tensors, weights):
    """Mean square error of each tensor, times its weight, added up."""
    return sum(weight * float((tensors[name].double() - STATE[name]).square().mean()) for name, weight in weights.items())


def metric_of(**weights):
    return lambda tensors: 100.0 - damage(tensors, weights)


def found(max_drop, metric, state=STATE, progress=silent):
    """The coded file, and the metric's drop in what its bytes decode to."""
    checkpoint = from_object(state)
    coded = encode(checkpoint, meet_drop(checkpoint, max_drop, metric, progress))
    return coded, metric(dict(state)) - metric(decode(coded.pack()).tensors)


def smallest_with_one_step(max_drop, metric):
    """Bytes of the smallest file that passes, of many with one step for all matrices."""
    checkpoint = from_object(STATE)
    for quarter in range(0, -40, -1):
        coded = encode(checkpoint, AutoCodec(2.0 ** (quarter / 4)))
        if 100.0 - metric(coded.restored) <= max_drop:
            return len(coded.pack())
    raise AssertionError("no step passes")


@pytest.fixture(scope="module")
def events():
    """What the search of `uneven` tells."""
    return []


@pytest.fixture(scope="module")
def uneven(events):
    """One matrix bears four hundred times the error that the other does."""
    metric = metric_of(fragile=400.0, sturdy=1.0, bias=0.01)
    return metric, *found(1.0, metric, progress=events.append)


def test_matrices_that_bear_more_get_fewer_bits(uneven):
    """By the sum of squares, 1.6 bits per weight can be had; what a search with few probes finds is most of that."""
    metric, coded, _ = uneven
    common = smallest_with_one_step(1.0, metric)
    assert 8 * (common - len(coded.pack())) / NUM_WEIGHTS > 1.2


def test_the_budget_goes_where_it_buys_most(uneven):
    """Matrices of one size do damage alike."""
    _, coded, _ = uneven
    tensors = decode(coded.pack()).tensors
    ratio = damage(tensors, {"fragile": 400.0}) / damage(tensors, {"sturdy": 1.0})
    assert 1 / 4 < ratio < 4


def test_the_limit_is_kept_and_used(uneven):
    _, _, drop = uneven
    assert 0.85 < drop <= 1.0


def test_what_was_evaluated_is_what_the_file_decodes_to(uneven):
    _, coded, _ = uneven
    tensors = decode(coded.pack()).tensors
    assert all(torch.equal(tensors[name], coded.restored[name]) for name in STATE)


@pytest.mark.parametrize("max_drop", [0.003, 20.0])
def test_any_limit_is_kept(max_drop):
    coded, drop = found(max_drop, metric_of(fragile=30.0, sturdy=10.0, bias=1.0))
    assert 0.8 * max_drop < drop <= max_drop
    assert coded.header.codec == AutoCodec.name


def test_half_precision_is_evaluated_as_it_comes_back():
    state = {name: tensor.half() for name, tensor in STATE.items()}

    def metric(tensors):
        assert all(tensor.dtype == torch.float16 for tensor in tensors.values())
        return 100.0 - damage(tensors, {"fragile": 100.0, "sturdy": 1.0})

    _, drop = found(0.5, metric, state)
    assert drop <= 0.5


def test_a_metric_that_jumps_is_kept_all_the_same():
    """Like an accuracy: what passes at one step may fail at the next finer one; only the file itself counts."""

    def metric(tensors):
        noise = zlib.crc32(b"".join(tensor.float().numpy().tobytes() for tensor in tensors.values())) / 2**32
        return 100.0 - damage(tensors, {"fragile": 10.0, "sturdy": 10.0}) - 0.5 * noise

    _, drop = found(0.3, metric)
    assert drop <= 0.3


def test_what_only_exactness_meets_is_stored_exactly():
    def metric(tensors):
        return 100.0 if all(torch.equal(tensors[name], STATE[name]) for name in STATE) else 99.0

    coded, drop = found(0.0, metric)
    assert coded.header.codec == "lossless.2"
    assert drop == 0.0


def test_one_tensor_that_bears_nothing_does_not_make_the_others_exact():
    """All its tolerance is the finest step that is tried; the file still passes as it decodes."""
    coded, drop = found(1.0, metric_of(fragile=1e5, sturdy=0.1, bias=0.1))
    assert drop <= 1.0
    assert len(coded.pack()) < 0.5 * 4 * NUM_WEIGHTS


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_metric_without_a_value_never_passes(value):
    def metric(tensors):
        return 100.0 if all(torch.equal(tensors[name], STATE[name]) for name in STATE) else value

    assert isinstance(meet_drop(from_object(STATE), 1e9, metric, silent), LosslessCodec)


def test_an_original_without_a_value_keeps_everything():
    """No file can be told to be as good."""
    assert isinstance(meet_drop(from_object(STATE), 1.0, lambda tensors: math.nan, silent), LosslessCodec)


def test_a_metric_that_breaks_down_beyond_some_error_is_kept_away_from_it():
    def metric(tensors):
        error = damage(tensors, {"sturdy": 1.0})
        return 100.0 if error < 0.001 else math.nan

    coded, drop = found(5.0, metric)
    assert drop == 0.0
    assert len(coded.pack()) < 0.4 * 4 * NUM_WEIGHTS


@pytest.mark.parametrize(
    "state",
    [{"n": torch.arange(5)}, {"w": torch.zeros(0, 3)}, {"w": torch.tensor([math.nan, 1.0])}],
    ids=["integers", "no elements", "not finite"],
)
def test_nothing_to_lose_is_stored_exactly(state):
    checkpoint = from_object(state)
    coded = encode(checkpoint, meet_drop(checkpoint, 1.0, lambda tensors: 1.0, silent))
    assert coded.header.codec == "lossless.2"


def test_progress_counts_every_evaluation(uneven, events):
    assert [event.done for event in events] == list(range(1, len(events) + 1))
    assert len({event.total for event in events}) == 1  # what was expected suffices
    assert len(events) <= events[0].total < 2 * len(events)
    assert events[0].detail == "the original: metric 100.00"
    assert events[-1].detail.startswith(f"{len(uneven[1].pack()):,} bytes: metric 99.")


def test_groups_are_large_matrices_the_others_and_the_vectors():
    tensors = {f"m{size}": torch.zeros(size, 3) for size in range(1, 16)}
    tensors |= {"b": torch.zeros(9), "s": torch.tensor(0.0), "empty": torch.zeros(0, 4)}
    groups = _groups(tensors)
    assert groups[:12] == [(f"m{size}",) for size in range(15, 3, -1)]
    assert groups[12] == ("m3", "m2", "m1", "empty")
    assert groups[13] == ("b", "s")
    assert len(groups) == 14


def test_groups_without_elements_are_not_probed():
    assert _groups({"w": torch.zeros(2, 2), "e": torch.zeros(0, 2), "n": torch.zeros(0)}) == [("w",)]
