"""Every call reports one whole: it never goes back, and it ends at its total."""

import pytest
import torch

import weightzip
from weightzip.api import restore_to, sample_to
from weightzip.progress import Meter, ProgressEvent
from weightzip.zoo import entry


def whole(call):
    """The stages of a call, in order, once its progress has been checked."""
    events = []
    call(events.append)
    shares = [event.done / event.total for event in events]
    assert shares == sorted(shares)
    assert events[-1].done == events[-1].total
    stages = [event.stage for event in events]
    return [stage for number, stage in enumerate(stages) if number == 0 or stage != stages[number - 1]]


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ({}, ["reading", "coding", "verifying"]),
        ({"verify": False}, ["reading", "coding"]),
        ({"lossless": True}, ["reading", "coding", "verifying"]),
        ({"max_error": 0.01}, ["reading", "coding", "verifying"]),
        ({"ratio": 6}, ["reading", "searching", "coding", "verifying"]),
        ({"dry_run": True}, ["reading", "coding", "estimating"]),
    ],
    ids=str,
)
def test_compressing(source, options, stages):
    assert whole(lambda progress: weightzip.compress(source, progress=progress, **options)) == stages


def test_searching_for_a_metric(task):
    weight = torch.randn(60, 50)
    options = {"max_drop": 10, "task": task(weight)}
    stages = whole(lambda progress: weightzip.compress({"weight": weight}, progress=progress, **options))
    assert stages == ["reading", "searching", "coding", "verifying", "evaluating"]


def test_the_paper_preset(source, tiny_vae):
    stages = whole(lambda progress: weightzip.compress(source, preset="paper", vae=tiny_vae, progress=progress))
    assert stages == ["reading", "coding", "training the VAE", "coding", "verifying"]


@pytest.mark.slow
def test_an_adaptation(folder):
    options = {"task": "zoo:lenet-300-100", "adapt": "calibrate", "steps": 60, "ratio": 30}
    source = entry("lenet-300-100").checkpoint
    stages = whole(lambda progress: weightzip.compress(source, "out.wz", progress=progress, **options))
    assert stages == ["reading", "calibrating", "coding", "verifying", "evaluating"]


def test_what_reads_a_file(source):
    weightzip.compress(source, "net.wz")
    assert whole(lambda progress: weightzip.restore("net.wz", progress=progress)) == ["restoring"]
    assert whole(lambda progress: weightzip.restore("net.wz", "back.pt", progress=progress)) == ["restoring"]
    assert whole(lambda progress: restore_to("net.wz", "again.pt", progress=progress)) == ["restoring"]
    assert whole(lambda progress: weightzip.test("net.wz", progress=progress)) == ["restoring"]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_sampling(source, temperature):
    weightzip.compress(source, "net.wz")
    options = {"count": 2, "temperature": temperature}
    for call in (weightzip.sample, sample_to):
        assert whole(lambda progress, call=call: call("net.wz", f"{call.__name__}.pt", progress=progress, **options)) == [
            "sampling"
        ]


def told(events):
    return [event.done for event in events]


def test_jobs_share_the_whole_by_their_costs():
    events = []
    meter = Meter(events.append, 4.0)
    with meter.job("long", 3.0) as inner:
        inner(ProgressEvent("longer", 1, 3))
    with meter.job("short", 1.0) as inner:
        inner(ProgressEvent("shorter", 5, 10, "half of it"))
    assert told(events) == [250, 750, 750, 875, 1000]
    assert events[3] == ProgressEvent("shorter", 875, 1000, "half of it", (5, 10), even=True)
    assert [event.stage for event in events] == ["longer", "long", "short", "shorter", "short"]


def test_a_job_that_begins_anew_has_what_is_left():
    events = []
    with Meter(events.append, 1.0).job("adapting", 1.0) as inner:
        for done in (50, 100, 0, 50, 100):
            inner(ProgressEvent("calibrating", done, 100))
    assert told(events) == [450, 900, 900, 945, 990, 1000]


def test_a_search_that_ends_early_has_come_far():
    events = []
    with Meter(events.append, 1.0).job("searching", 1.0) as inner:
        for done in range(1, 7):
            inner(ProgressEvent("searching", done, 12))
    assert told(events) == [150, 300, 450, 600, 750, 900, 1000]


def test_epochs_are_told_by_how_many_it_usually_takes():
    events = []
    with Meter(events.append, 1.0).job("coding", 1.0) as inner:
        inner(ProgressEvent("training the VAE", 50, 500))
        inner(ProgressEvent("training the VAE", 20_000, 100_000, "in a file with other tensors", own=(100, 500)))
        inner(ProgressEvent("training the VAE", 300, 500))
    assert told(events) == [450, 900, 950, 1000]


def test_a_whole_within_a_whole_is_taken_as_it_is():
    """That a search ends early counts once, where the search is told of."""
    events = []
    with Meter(events.append, 2.0).job("compressing", 2.0) as outer:
        meter = Meter(outer, 2.0)
        with meter.job("searching", 1.0) as inner:
            for done in range(1, 7):
                inner(ProgressEvent("searching", done, 12))
        with meter.job("coding", 1.0) as inner:
            inner(ProgressEvent("training the VAE", 100, 500))
    assert told(events) == [75, 150, 225, 300, 375, 450, 500, 500, 950, 1000, 1000]


def test_measurements_are_one_stage():
    events = []
    with Meter(events.append, 1.0, "measuring").job("zstd", 1.0) as inner:
        inner(ProgressEvent("level 3", 1, 2, "fc.weight"))
    assert [(event.stage, event.detail) for event in events] == [("measuring", "zstd: fc.weight"), ("measuring", "zstd")]
