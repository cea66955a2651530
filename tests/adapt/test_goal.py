import pytest
import torch

from weightzip.adapt.goal import Candidate, KeepMetric, KeepSize

TENSORS = {"weight": torch.ones(2)}


def metric_of(value, done=1.0, *, max_drop=1.0, excess=4.0):
    return KeepMetric(lambda tensors: value, original=90.0, max_drop=max_drop, excess=excess).judge(
        Candidate(TENSORS, 1000.0, done)
    )


def size_of(file_bytes, limit=1000.0):
    return KeepSize(limit).judge(Candidate(TENSORS, file_bytes, 0.2))


def test_the_tensors_of_the_candidate_are_what_is_evaluated():
    seen = []
    goal = KeepMetric(lambda tensors: seen.append(tensors) or 89.5, original=90.0, max_drop=1.0, excess=4.0)
    assert goal.judge(Candidate(TENSORS, 1000.0, 1.0)).value == 89.5
    assert len(seen) == 1
    assert seen[0] is TENSORS


@pytest.mark.parametrize(("value", "passes"), [(95.0, True), (90.0, True), (89.0, True), (88.99, False), (0.0, False)])
@pytest.mark.parametrize("done", [0.0, 0.5, 1.0])
def test_only_the_target_itself_passes_whenever_it_is_asked(value, passes, done):
    assert metric_of(value, done).passes is passes


@pytest.mark.parametrize(
    ("done", "value", "sign"),
    [
        (0.0, 85.5, 1),  # five times the target is allowed at first
        (0.0, 84.5, -1),
        (0.9, 89.5, 1),  # and little more than the target itself towards the end
        (0.9, 88.5, -1),
        (1.0, 89.01, 1),
        (1.0, 88.99, -1),
    ],
)
def test_what_is_allowed_falls_to_the_target(done, value, sign):
    assert metric_of(value, done).room * sign > 0


def test_what_is_allowed_never_rises_again():
    rooms = [metric_of(87.0, done / 20).room for done in range(21)]
    assert rooms == sorted(rooms, reverse=True)
    assert rooms[0] > 0.5
    assert rooms[-1] == -1


def test_room_is_full_where_half_of_what_is_allowed_is_left_and_none_at_the_target():
    rooms = {value: metric_of(value).room for value in (95.0, 90.0, 89.5, 89.25, 89.0, 88.75, 88.5, 80.0)}
    assert rooms == {95.0: 1.0, 90.0: 1.0, 89.5: 1.0, 89.25: 0.5, 89.0: 0.0, 88.75: -0.5, 88.5: -1.0, 80.0: -1.0}


@pytest.mark.parametrize(("value", "room", "passes"), [(90.1, 1.0, True), (90.0, 0.5, True), (89.9, -1.0, False)])
def test_no_drop_at_all_may_be_asked_for(value, room, passes):
    verdict = metric_of(value, 1.0, max_drop=0.0)
    assert (verdict.room, verdict.passes) == (room, passes)


def test_where_no_drop_is_allowed_a_little_is_at_first():
    assert metric_of(89.9, 0.0, max_drop=0.0).room > 0
    assert not metric_of(89.9, 0.0, max_drop=0.0).passes
    assert metric_of(90.0, max_drop=0.0).passes


def test_without_excess_the_target_counts_from_the_beginning():
    assert metric_of(88.9, 0.0, excess=0.0).room < 0 < metric_of(89.1, 0.0, excess=0.0).room


def test_of_models_that_keep_the_metric_the_smaller_file_is_better():
    goal = KeepMetric(lambda tensors: 0.0, 90.0, 1.0, 4.0)
    assert goal.better((900.0, 0.5), (1000.0, 1.0))
    assert not goal.better((1000.0, 1.0), (1000.0, 0.5))
    assert not goal.better((1100.0, 1.0), (1000.0, 0.5))


@pytest.mark.parametrize(("file_bytes", "passes"), [(1, True), (999, True), (1000, True), (1001, False), (1e9, False)])
def test_a_file_passes_up_to_its_limit(file_bytes, passes):
    verdict = size_of(file_bytes)
    assert verdict.passes is passes
    assert verdict.value is None


@pytest.mark.parametrize("limit", [1000.0, 1234567.0])
def test_the_price_settles_just_below_the_limit(limit):
    """It rises where files are larger than that, falls where they are smaller, and at full speed a quarter octave away."""
    rooms = [size_of(share * 0.995 * limit, limit).room for share in (0.5, 2**-0.25, 2**-0.125, 1.0, 2**0.125, 2**0.25, 2.0)]
    assert rooms == pytest.approx([-1.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.0], abs=1e-9)


@pytest.mark.parametrize("file_bytes", [0.0, 0.5])
def test_a_file_of_no_bytes_is_no_error(file_bytes):
    assert size_of(file_bytes).room == -1.0


def test_of_models_within_a_size_the_one_trained_longer_is_better():
    goal = KeepSize(1000.0)
    assert goal.better((1000.0, 0.9), (500.0, 0.8))
    assert goal.better((1000.0, 0.9), (500.0, 0.9))
    assert not goal.better((500.0, 0.7), (1000.0, 0.8))
