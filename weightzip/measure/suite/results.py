"""What the suite has measured: a record for each item, kept in a file of its own, and all of them together."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from weightzip.errors import OutputError, UsageError
from weightzip.files import atomic_path
from weightzip.interface import JSON

RESULTS, PAGE, _ITEMS = "results.json", "results.md", "items"
_LONGEST = 100  # characters of an item's name in that of its file
_VERSION = 1


@dataclass(frozen=True)
class Record:
    """What measuring one item gave.

    kind: what was measured, on which subject, how (a recipe's or a dtype's name). identity: all that the figures depend on.
    date: ISO 8601 in UTC. seconds: how long it took. found: the figures; its fields depend on the kind.
    """

    kind: str
    subject: str
    how: str
    identity: dict[str, JSON]
    date: str
    seconds: float
    found: JSON


@dataclass(frozen=True)
class SuiteResults:
    """All records, in the order of the plan. failed: what items that could not be measured said, by name.

    not_installed: peers and known checkpoints that are not here. machine: its kind in words.
    """

    command: str
    machine: str
    versions: dict[str, str]
    records: tuple[Record, ...]
    failed: dict[str, str] = field(default_factory=dict)
    not_installed: tuple[str, ...] = ()

    def of(self, kind: str, how: str = "") -> dict[str, JSON]:
        """The figures of one kind by subject."""
        return {record.subject: record.found for record in self.records if (record.kind, record.how) == (kind, how)}

    @property
    def date(self) -> str:
        """The day of measuring, or the first and the last one."""
        days = sorted(record.date[:10] for record in self.records) or ["-"]
        return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"

    def to_json(self) -> dict[str, JSON]:
        """As in results.json."""
        return {"version": _VERSION, "date": self.date, **asdict(self)}


def read_results(folder: Path) -> SuiteResults:
    """What is in a folder's results.json. Raises UsageError where there is none, or it is not one."""
    path = folder / RESULTS
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file; run `weightzip bench --suite -o {folder}` first") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: is not a file of results; run `weightzip bench --suite -o {folder}` again") from error
    try:
        if data.pop("version") != _VERSION:
            raise ValueError
        data.pop("date")
        records = tuple(Record(**record) for record in data.pop("records"))
        return SuiteResults(**data | {"not_installed": tuple(data["not_installed"])}, records=records)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: is of another version; run `weightzip bench --suite -o {folder}` again") from error


class Store:
    """A folder with a file for each item that was measured, so that an interrupted suite can go on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _ITEMS
        make_folder(self._folder)

    def load(self, name: str, identity: dict[str, JSON]) -> Record | None:
        """What was measured under this name; None where nothing was, or something else, or the file is broken."""
        try:
            record = Record(**json.loads(self._path(name, identity).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return record if record.identity == identity else None

    def save(self, name: str, record: Record) -> None:
        """Keep a record. Raises OutputError where that cannot be written."""
        write_json(self._path(name, record.identity), asdict(record))

    def _path(self, name: str, identity: dict[str, JSON]) -> Path:
        """Other settings go to another file, so that `--quick` in the same folder costs no hours."""
        told = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        return self._folder / f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)[:_LONGEST]}-{told}.json"


def make_folder(folder: Path) -> None:
    """Make a folder, if it is not there. Raises OutputError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}; name another folder with -o") from error


def write_json(path: Path, data: JSON) -> None:
    """Write a file whole or not at all; numbers that JSON does not have become null. Raises OutputError."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain(data), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def plain(data: Any) -> JSON:
    """The data with null for numbers that JSON does not have, as results.json has it."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [plain(value) for value in data]
    return None if isinstance(data, float) and data - data != 0 else data


def rows_of(found: JSON, quality: float | None) -> Iterator[dict[str, JSON]]:
    """The rows of a side-by-side measurement at one quality; None: the lossless ones."""
    yield from (row for row in found["rows"] if row["quality_db"] == quality)
