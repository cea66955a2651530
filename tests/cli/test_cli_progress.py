"""One bar for a whole command: what it shows on terminals of any width, and where it shows nothing."""

import contextlib
import io
import re
import sys
import time

import pytest

from weightzip.cli.output import Output
from weightzip.cli.progress import progress_bar
from weightzip.cli.remaining import Remaining, in_words
from weightzip.progress import ProgressEvent, silent


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("weightzip.cli.progress._DELAY", 0)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return terminal


@contextlib.contextmanager
def bar_on(terminal, out=None):
    """As `progress_bar`, on this terminal. Not by monkeypatch, since pytest sets stderr anew when a test begins."""
    before, sys.stderr = sys.stderr, terminal
    try:
        with progress_bar(out or Output()) as progress:
            yield progress
        assert sys.stderr is terminal
    finally:
        sys.stderr = before


def wait_for(words, terminal, start=0):
    """Until they have been drawn."""
    give_up = time.monotonic() + 30
    while words not in plain(terminal.getvalue()[start:]) and time.monotonic() < give_up:
        time.sleep(0.01)


def shown(terminal, *events):
    """The lines that were drawn after each event, without codes; and all that was written."""
    lines = []
    with bar_on(terminal) as progress:
        for event in events:
            before = len(terminal.getvalue())
            progress(event)
            wait_for(event.stage[:1], terminal, before)
            lines.append(plain(terminal.getvalue()[before:]).strip().splitlines()[-1])
    return lines, terminal.getvalue()


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")


def test_a_bar_has_stage_percentage_and_detail_and_is_gone_at_the_end(terminal):
    lines, written = shown(terminal, ProgressEvent("searching", 250, 1000, "2% off"), ProgressEvent("coding", 500, 1000))
    assert re.fullmatch(r"searching ━\S* *25%  2% off *", lines[0])
    assert re.fullmatch(r"coding ━\S* *50% *", lines[1])
    assert written.endswith("\x1b[1A\x1b[2K")  # up one line, and erased
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor is there again


def test_the_bar_never_goes_back(terminal):
    lines, _ = shown(
        terminal, ProgressEvent("searching", 9, 10), ProgressEvent("coding", 0, 3), ProgressEvent("verifying", 95, 100)
    )
    assert [re.findall(r"\d+%", line) for line in lines] == [["90%"], ["90%"], ["95%"]]


def test_before_the_first_event_there_is_a_bar_as_well(terminal):
    with bar_on(terminal):
        wait_for("starting", terminal)
    assert "starting" in terminal.getvalue()


@pytest.mark.parametrize(
    ("columns", "start"),
    [
        (200, "training the VAE of this mo… ━"),
        (40, "training the VAE of th… ━"),
        (25, "training the VAE o…  25%"),
        (12, "train…  25%"),
    ],
)
def test_a_bar_is_one_line_however_narrow(terminal, monkeypatch, columns, start):
    monkeypatch.setenv("COLUMNS", str(columns))
    (line,), _ = shown(terminal, ProgressEvent("training the VAE of this model", 1, 4, "loss 0.5 of a very long run " * 9))
    assert len(line) < columns
    assert line.startswith(start)
    assert "25%" in line


def test_what_comes_from_files_cannot_steer_the_terminal(terminal):
    lines, written = shown(terminal, ProgressEvent("coding", 1, 4, "a\x1b[31m\nb"))
    assert r"a\x1b[31m\nb" in lines[0]
    assert "\x1b[31m" not in written


def test_no_colour_where_none_is_wanted(terminal, monkeypatch):
    _, coloured = shown(terminal, ProgressEvent("coding", 1, 4))
    terminal.truncate(0)
    monkeypatch.setenv("NO_COLOR", "1")
    _, written = shown(terminal, ProgressEvent("coding", 1, 4))
    assert re.search(r"\x1b\[[\d;]*m", coloured)
    assert not re.search(r"\x1b\[[\d;]*m", written)


def test_messages_stand_above_the_bar(terminal):
    out = Output()
    with bar_on(terminal, out) as progress:
        progress(ProgressEvent("coding", 1, 4))
        wait_for("coding", terminal)
        out.message("one model is done")
    drawn, said = terminal.getvalue().split("one model is done")
    assert drawn.endswith("\r\x1b[2K")  # where the bar was
    assert said.startswith("\n")
    assert "coding" in said


@pytest.mark.parametrize("name", ["dumb", "unknown"])
def test_a_terminal_that_cannot_draw(terminal, monkeypatch, name):
    monkeypatch.setenv("TERM", name)
    with bar_on(terminal) as progress:
        assert progress is silent


def test_verbose_tells_each_stage_once(capsys):
    with progress_bar(Output(verbose=True)) as progress:
        for stage in ("reading", "coding", "coding", "verifying"):
            progress(ProgressEvent(stage, 1, 2))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[-1] for line in lines] == ["reading", "coding", "verifying"]


def test_an_error_takes_the_bar_away(terminal):
    def fail():
        with bar_on(terminal) as progress:
            progress(ProgressEvent("coding", 1, 4))
            wait_for("coding", terminal)
            raise ZeroDivisionError

    stderr = sys.stderr
    with pytest.raises(ZeroDivisionError):
        fail()
    assert sys.stderr is stderr
    assert terminal.getvalue().endswith("\x1b[1A\x1b[2K")


class TestRemaining:
    def test_nobody_knows_at_first(self):
        remaining = Remaining(now=0.0)
        assert remaining.seconds(now=100.0) is None
        remaining.reach(0.5, now=1.0)
        assert remaining.seconds(now=1.0) is None  # too soon
        assert remaining.seconds(now=1.5) is None

    def test_at_a_constant_speed_it_is_exact(self):
        remaining = Remaining(now=10.0)
        for second in range(1, 31):
            remaining.reach(second / 120, now=10.0 + second)
        assert remaining.seconds(now=40.0) == pytest.approx(90.0)
        assert remaining.seconds(now=45.0) == pytest.approx(85.0)

    def test_it_follows_a_new_speed(self):
        remaining = Remaining(now=0.0)
        for second in range(1, 101):
            remaining.reach(second / 1000, now=second)
        for second in range(1, 201):
            remaining.reach(0.1 + second / 10000, now=100 + second)
        assert remaining.seconds(now=300) == pytest.approx(0.88 * 10000, rel=0.1)

    def test_less_than_before_is_no_news(self):
        remaining = Remaining(now=0.0)
        remaining.reach(0.5, now=10.0)
        remaining.reach(0.1, now=11.0)
        remaining.reach(0.5, now=12.0)
        assert remaining.share == 0.5
        assert remaining.seconds(now=12.0) == pytest.approx(8.0)

    @pytest.mark.parametrize("share", [float("nan"), -1.0, 7.0])
    def test_a_share_is_one_at_most(self, share):
        remaining = Remaining(now=0.0)
        remaining.reach(share, now=1.0)
        assert 0.0 <= remaining.share <= 1.0

    def test_a_step_that_takes_too_long_leaves_it_open(self):
        remaining = Remaining(now=0.0)
        remaining.reach(0.5, now=10.0)
        assert remaining.seconds(now=20.0) is None

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [
            (0.2, "1 s left"),
            (59, "59 s left"),
            (59.5, "1 min left"),
            (61, "1 min 10 s left"),
            (599, "10 min left"),
            (3600, "1 h 00 min left"),
            (100_000, "27 h 47 min left"),
        ],
    )
    def test_in_words(self, seconds, words):
        assert in_words(seconds) == words
