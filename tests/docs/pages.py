"""The documentation's pages as lists of blocks, and what running a block means.

An invisible comment right above a block says how it is meant; several are parted by semicolons:

    <!-- slow -->             takes long: runs only with `pytest -m slow`, after all blocks before it
    <!-- each -->             its lines are alternatives: each runs by itself, in a copy of the folder
    <!-- exit: 1 -->          ends with this code
    <!-- file: mytask.py -->  is a file of the reader's, which is written and not run
    <!-- output -->           is what the block before it prints, but for numbers
    <!-- no-run: reason -->   needs what tests do not have

Two more stand anywhere on a page that begins with files of the reader's:

    <!-- prepare: command -->  runs at first
    <!-- after: adapt.md -->   has the files of that page in docs/, too
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sybil import Document
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

ROOT = Path(__file__).parents[2]
# results.md is left out: `weightzip bench --suite` writes it, out of the very commands that it shows, which take hours.
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.name != "results.md")]
RUN = {"bash", "python"}
DATA = {"json", "markdown", "text", "yaml"}
MARKS = {"each", "exit", "file", "no-run", "output", "slow"}

_ANY = FencedCodeBlockLexer(language=r"[^\n]*?[ \t]*")
_COMMENT = re.compile(r"<!-- ([^\n]*?) -->\n[ \t]*\Z")
_PREPARE = re.compile(r"^<!-- prepare: (.*) -->$", re.MULTILINE)
_AFTER = re.compile(r"^<!-- after: (.*) -->$", re.MULTILINE)
_NUMBER = re.compile(r"[+-]?\d[\d,.]*%?")
_RULE = re.compile(r"[─━═│┃|+-]{2,}")


@dataclass(frozen=True)
class Block:
    """One fenced block. marks: what the comment above it says."""

    page: Path
    line: int
    language: str
    source: str
    marks: dict[str, str]

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    """As a reader of the repository calls it."""
    return str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name


def blocks(page: Path) -> list[Block]:
    """All of a page's, in order."""
    document = Document(page.read_text(encoding="utf-8"), str(page))
    found = []
    for region in _ANY(document):
        comment = _COMMENT.search(document.text, 0, region.start)
        line = document.text.count("\n", 0, region.start) + 1
        language = region.lexemes["language"].strip()
        found.append(Block(page, line, language, region.lexemes["source"].text, _marks(comment[1]) if comment else {}))
    return found


def _marks(comment: str) -> dict[str, str]:
    parts = [part.partition(":") for part in comment.split(";")]
    return {name.strip(): value.strip() for name, _, value in parts}


def pages_before(page: Path) -> list[Path]:
    """Those whose files a reader of this page has."""
    return [ROOT / "docs" / name for name in _AFTER.findall(page.read_text(encoding="utf-8"))]


def write_files(page: Path, folder: Path) -> None:
    """What a page says is a file of the reader's."""
    for block in blocks(page):
        if "file" in block.marks:
            place = folder / block.marks["file"]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(block.source, encoding="utf-8")


class Reader:
    """Somebody who tries out a page, block after block, in a folder."""

    def __init__(self, page: Path, folder: Path, environment: dict[str, str]) -> None:
        self._page, self._folder, self._environment = page, folder, environment
        self._names: dict[str, Any] = {"__name__": "__page__"}
        self._printed = ""

    def read(self, *, patient: bool) -> None:
        """Do what the page says; who is not patient leaves out what is slow, and what it prints."""
        write_files(self._page, self._folder)
        for command in _PREPARE.findall(self._page.read_text(encoding="utf-8")):
            code = self._bash(command, self._folder)
            assert code == 0, f"{self._page.name}: {command} ended with {code}\n{self._printed}"
        skipped = False
        for block in blocks(self._page):
            if "output" in block.marks and not skipped:
                self._compare(block)
            elif block.language in RUN and "file" not in block.marks:
                skipped = "no-run" in block.marks or ("slow" in block.marks and not patient)
                if not skipped:
                    self._run(block)

    def _run(self, block: Block) -> None:
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile("\n" * block.line + block.source, block.page, "exec", dont_inherit=True), self._names)
            self._printed = printed.getvalue()
        elif "each" in block.marks:
            for line in filter(None, block.source.splitlines()):
                copy = self._folder.with_name("copy")
                shutil.copytree(self._folder, copy, symlinks=True)
                self._check(block, self._bash(line, copy))
                shutil.rmtree(copy)
        else:
            self._check(block, self._bash(block.source, self._folder))

    def _bash(self, source: str, folder: Path) -> int:
        command = ["bash", "-euo", "pipefail", "-c", source]
        done = subprocess.run(command, cwd=folder, env=self._environment, text=True, capture_output=True, check=False)
        self._printed = done.stdout + done.stderr
        return done.returncode

    def _check(self, block: Block, code: int) -> None:
        wanted = int(block.marks.get("exit", "0"))
        assert code == wanted, f"{block}: ended with {code}\n{block.source}\n{self._printed}"

    def _compare(self, block: Block) -> None:
        printed = iter([_stable(line) for line in self._printed.splitlines()])
        for line in block.source.splitlines():
            wanted = _stable(line)
            found = wanted in ("", "...") or any(shown.startswith(wanted) for shown in printed)
            assert found, f"{block}: {line!r} is not printed there\n{self._printed}"


def _stable(line: str) -> str:
    """A line without numbers, rules and space, which differ from machine to machine."""
    return " ".join(_RULE.sub(" ", _NUMBER.sub("#", line)).split())


def environment(program: Path) -> dict[str, str]:
    """Of commands: the program in this folder comes first, and nothing of the terminal that runs the tests shows."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    return kept | {"PATH": f"{program}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
