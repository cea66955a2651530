"""Where the bytes of a file went, ready to be shown: by section, by tensor, and what each tensor lost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from weightzip.codec import section_kind
from weightzip.report.histogram import HistogramPicture, picture
from weightzip.results import StoredFile, TensorShare

STRIP = 1000  # width of a strip, in its own units
MOST_HISTOGRAMS = 100  # of a file; a page must stay small enough to be mailed
FIRST_HISTOGRAMS = 12
_SHOWN_SLICES = 12
_COLOURS = 5
_SECTIONS = {
    "header": "names, shapes, settings, the hash of every section",
    "latents": "the posterior means of the chunks; all that the paper counts",
    "decoder": "the VAE's decoder, without which the latents mean nothing",
    "residuals": "what the VAE leaves over, quantised",
    "steps": "the size of a quantisation step, per tensor",
    "transforms": "the learned axes of the linear VAEs, where they pay",
    "model": "how spread out the weights of each row, column and tap are, for the entropy coder",
    "scales": "how spread out the weights of each row and column are",
    "symbols": "the quantised weights, entropy coded",
    "exact": "tensors that are kept bit for bit",
}


@dataclass(frozen=True)
class Slice:
    """A part of a file. start, width: in a strip of STRIP units. kind: the class that gives its colour."""

    name: str
    what: str
    num_bytes: float
    share: float
    start: float
    width: float
    kind: str


@dataclass(frozen=True)
class TensorRow:
    """A tensor in the table. number: its place in the checkpoint. bytes_bar to error_bar: percent of the longest bar."""

    number: int
    tensor: TensorShare
    shape: str
    bytes_bar: float
    bits_bar: float
    error_bar: float
    histogram: HistogramPicture | None

    @property
    def bits(self) -> float:
        """Bits of the file per weight."""
        return self.tensor.bits_per_element


@dataclass(frozen=True)
class FileView:
    """A file. rows: its tensors, those that take most first. shared_bytes: of no tensor alone. summary: of the strips, told."""

    number: int
    stored: StoredFile
    sections: tuple[Slice, ...]
    tensors: tuple[Slice, ...]
    rows: tuple[TensorRow, ...]
    shared_bytes: float
    sections_told: str
    tensors_told: str

    @property
    def pictured(self) -> tuple[TensorRow, ...]:
        """Rows whose histograms are shown."""
        return tuple(row for row in self.rows if row.histogram is not None)


def file_view(number: int, stored: StoredFile) -> FileView:
    """What the page shows of a file, the number-th one."""
    sizes = sorted(stored.section_bytes.items(), key=lambda item: -item[1])
    sections = tuple(
        _slices(
            (name, _SECTIONS.get(section_kind(name)[0], ""), size, f"s{place % _COLOURS}")
            for place, (name, size) in enumerate(sizes)
        )
    )
    shared = max(0.0, stored.point.file_bytes - sum(tensor.stored_bytes for tensor in stored.tensors))
    rows = _rows(stored.tensors)
    tensors = tuple(_slices(_tensor_parts(rows, shared))) if rows else ()
    return FileView(number, stored, sections, tensors, rows, shared, _told(sections), _told(tensors))


def _rows(tensors: Sequence[TensorShare]) -> tuple[TensorRow, ...]:
    order = sorted(range(len(tensors)), key=lambda number: -tensors[number].stored_bytes)
    most_bytes = _most(tensor.stored_bytes for tensor in tensors)
    most_bits = _most(tensor.bits_per_element for tensor in tensors)
    most_error = _most(tensor.relative_mse for tensor in tensors)
    pictured = 0
    rows = []
    for number in order:
        tensor = tensors[number]
        histogram = picture(tensor) if pictured < MOST_HISTOGRAMS else None
        pictured += histogram is not None
        rows.append(
            TensorRow(
                number,
                tensor,
                "\u00d7".join(map(str, tensor.shape)) or "scalar",
                _bar(tensor.stored_bytes, most_bytes),
                _bar(tensor.bits_per_element, most_bits),
                _bar(tensor.relative_mse, most_error),
                histogram,
            )
        )
    return tuple(rows)


def _tensor_parts(rows: Sequence[TensorRow], shared: float) -> Iterator[tuple[str, str, float, str]]:
    """The largest tensors, all others as one, and what tensors share."""
    for place, row in enumerate(rows[:_SHOWN_SLICES]):
        yield row.tensor.name, row.shape, row.tensor.stored_bytes, f"t{place % 2}"
    others = rows[_SHOWN_SLICES:]
    if others:
        yield f"{len(others)} other tensors", "", sum(row.tensor.stored_bytes for row in others), "t2"
    if shared:
        yield "shared", "header, tables, decoder: what tensors have in common", shared, "t3"


def _slices(parts: Iterable[tuple[str, str, float, str]]) -> Iterator[Slice]:
    known = [(name, what, float(size), kind) for name, what, size, kind in parts]
    whole = sum(size for _, _, size, _ in known) or 1.0
    start = 0.0
    for name, what, size, kind in known:
        width = STRIP * size / whole
        yield Slice(name, what, size, 100 * size / whole, round(start, 2), round(width, 2), kind)
        start += width


def _told(slices: Sequence[Slice]) -> str:
    largest = sorted(slices, key=lambda part: -part.share)[:3]
    return ", ".join(f"{part.name} {part.share:.1f}%" for part in largest)


def _most(values: Iterable[float]) -> float:
    return max((value for value in values if math.isfinite(value)), default=0.0)


def _bar(value: float, longest: float) -> float:
    return round(100 * value / longest, 1) if longest > 0 and math.isfinite(value) else 0.0
