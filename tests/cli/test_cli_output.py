import io
import math
import sys

import pytest

from weightzip.cli.output import Output, printable
from weightzip.cli.progress import progress_bar
from weightzip.progress import ProgressEvent, silent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_has_no_numbers_that_json_lacks(capsys):
    data = {"nan": math.nan, "list": [math.inf, 1.5], "nested": {"minus": -math.inf, "whole": 3}}
    Output(json=True).result(data, list)
    assert capsys.readouterr().out == '{"nan": null, "list": [null, 1.5], "nested": {"minus": null, "whole": 3}}\n'


def test_characters_that_a_stream_cannot_show_are_written_out(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    Output().result({}, lambda: ["caf\u00e9 \udcff"])
    stream.flush()
    assert stream.buffer.getvalue() == b"caf\\xe9 \\udcff\n"


def test_printable_leaves_what_can_be_seen():
    assert printable("größer \t\x7f") == "größer \\t\\x7f"


def shown(monkeypatch, **options):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar(Output(**options)) as progress:
        progress(ProgressEvent("training", 1, 4, "loss 0.5"))
        progress(ProgressEvent("training", 4, 4, "loss 0.25\x1b[31m"))
    return terminal.getvalue()


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr("weightzip.cli.progress._DELAY", 0)
    text = shown(monkeypatch)
    assert "training" in text
    assert "\x1b[31m" not in text


@pytest.mark.parametrize("options", [{"quiet": True}, {"no_progress": True}])
def test_no_bar_where_none_is_wanted(monkeypatch, options):
    assert shown(monkeypatch, **options) == ""


def test_no_bar_without_a_terminal(capsys):
    with progress_bar(Output()) as progress:
        assert progress is silent
    assert capsys.readouterr().err == ""


def test_no_color_means_no_escape_codes(run, packed, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" in run("info", packed).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("info", packed).out
