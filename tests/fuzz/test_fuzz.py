"""Spoiled files: a few hundred here, many in watched processes, and the fuzzer itself, which must notice what it is for."""

import sys

import fuzz
import pytest
from fuzz_corpus import corpus
from fuzz_mutations import COVERED, KINDS, Mutant
from fuzz_outcome import FAILED, OTHER, SAME, fingerprint, judge
from misbehaving import Misbehaving
from wz_parts import Parts

from weightzip.container import pack, unpack


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return corpus()


def test_a_few_hundred(files):
    tally = fuzz.in_process(1, range(600), files)
    assert tally.failures == []
    assert {kind for kind, _ in tally.counts} == set(KINDS)
    assert {outcome for kind, outcome in tally.counts if kind in COVERED} == {"damaged (3)"}
    assert len({outcome for _, outcome in tally.counts}) == 4  # of all kinds but failures


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are watched with what Linux has")
def test_twenty_thousand(files):
    tally = fuzz.watched(2, 20_000, 2, files)
    print(tally.table())  # noqa: T201
    assert tally.failures == []
    assert sum(tally.counts.values()) == 20_000


def test_the_corpus_is_the_same_each_time(files):
    assert corpus() == files


def test_a_mutant_can_be_made_again(files):
    assert [fuzz.make(3, number, files) for number in range(50)] == [fuzz.make(3, number, files) for number in range(50)]
    assert len({fuzz.make(3, number, files).data for number in range(50)}) > 40


@pytest.mark.parametrize(
    "name", ["auto", "auto2", "paper2", "heteroskedastic", "planes", "tree", "shards", "baseline baseline/prune"]
)
def test_parts_are_those_of_the_container(files, name):
    parts, container = Parts.of(files[name]), unpack(files[name])
    assert parts.join() == files[name]
    assert parts.header == container.header
    assert {section.name.decode(): section.data for section in parts.sections[1:]} == dict(container.sections)
    assert pack(container.header, container.sections)[4:6] == b"\x02\0"


def test_what_is_decoded_is_told_apart(files):
    prints = {name: fingerprint(data) for name, data in files.items()}
    assert judge(Mutant("", "tree", files["tree"], covered=False), prints).outcome == SAME
    assert judge(Mutant("", "tree", files["auto2"], covered=False), prints).outcome == OTHER
    assert judge(Mutant("", "tree", files["tree"], covered=True), prints).outcome == FAILED  # it was said to be spoiled


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), RecursionError()])
def test_an_odd_error_is_noticed(files, monkeypatch, error):
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("fuzz_outcome.decode", broken)
    assert judge(Mutant("", "auto2", files["auto2"], covered=False), {}).outcome == FAILED


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are watched with what Linux has")
@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("hang", "takes more than"),
        ("sleep", "takes more than"),
        ("crash", "ended with -"),
        ("take memory", "ended with 1"),
        ("leave", "ended with 0"),
    ],
)
def test_a_worker_that_misbehaves_is_noticed(files, monkeypatch, how, told):
    """At its second and third file."""
    monkeypatch.setattr(fuzz, "HANGS", 2.0)
    monkeypatch.setattr(fuzz, "STUCK", 6.0)
    small = {name: files[name] for name in ("lossless", "module")}
    odd = frozenset(fuzz.make(4, number, small).data for number in (1, 2))
    tally = fuzz.watched(4, 4, 1, small, judging=Misbehaving(how, odd))
    assert [number for number, _, _ in tally.failures] == [1, 2]
    assert all(told in why for _, _, why in tally.failures)
    assert sum(tally.counts.values()) == 4
