import io
import math
import sys

import pytest

from weightzip.cli.describe import new_table
from weightzip.cli.output import Output, printable
from weightzip.cli.progress import progress_bar
from weightzip.progress import silent


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


def test_no_bar_where_none_is_wanted(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    for options in ({"quiet": True}, {"no_progress": True}):
        with progress_bar(Output(**options)) as progress:
            assert progress is silent


def test_no_bar_without_a_terminal(capsys):
    with progress_bar(Output()) as progress:
        assert progress is silent
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_figures_are_never_cut(monkeypatch, columns):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    table = new_table("tensor", "bytes", "bits per weight")
    table.add_row("a.name.that.is.rather.long", "1,234,567", "12.345")
    Output().result({}, lambda: [table])
    assert "1,234,567" in terminal.getvalue()
    assert "12.345" in terminal.getvalue()


def test_tables_stand_apart(capsys):
    table = new_table("tensor", "bytes")
    table.add_row("a", "1")
    Output().result({}, lambda: ["first", table, table, "last", "line"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["first", "", "tensor   bytes"]
    assert [number for number, line in enumerate(lines) if not line] == [1, 5, 9]
    assert lines[-2:] == ["last", "line"]


def test_sentences_are_broken_between_words_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "20")
    Output().message("  a/path/that-is/longer/than-the/line: and words after it")
    assert terminal.getvalue() == "  a/path/that-is/longer/than-the/line:\n    and words after\n    it\n"


def test_no_color_means_no_escape_codes(run, packed, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" in run("info", packed).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("info", packed).out
