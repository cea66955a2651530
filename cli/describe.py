"""How a file's summary is told to people: the whole-file ratio first, the paper's accounting beside it and labelled so."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from weightzip.cli.output import printable
from weightzip.metric import Metric
from weightzip.summary import Summary

if TYPE_CHECKING:
    from rich.table import Table

WHOLE_FILE = "whole file"
LATENTS_ONLY = "latents only (the paper's accounting)"


def times(ratio: float) -> str:
    """A ratio, to three digits or so.

    >>> times(11.7912), times(1.2)
    ('11.8x', '1.20x')
    """
    return f"{ratio:.1f}x" if ratio >= 10 else f"{ratio:.2f}x"


def compressed(summary: Summary) -> Iterator[str]:
    """What compressing came to, in a few lines."""
    yield (
        f"{summary['input']} -> {summary['output']}: {summary['input_bytes']:,} -> {summary['file_bytes']:,} bytes, "
        f"{change(summary['ratio'])} ({summary['bits_per_weight']:.2f} bits per weight)"
    )
    yield from both_ratios(summary)
    yield from quality(summary)


def change(ratio: float) -> str:
    """How a ratio is told in words, whichever way the size went."""
    if ratio == 0:
        return "for tensors without values"
    return f"{times(ratio)} smaller" if ratio >= 1 else f"{times(1 / ratio)} larger"


def both_ratios(summary: Summary) -> Iterator[str]:
    """Where the file has latents: both accountings, side by side."""
    if summary["latent_ratio"] is not None:
        yield f"  {WHOLE_FILE}: {times(summary['ratio'])}   {LATENTS_ONLY}: {times(summary['latent_ratio'])}"


def quality(summary: Summary) -> Iterator[str]:
    """What was lost, against the source."""
    yield f"  relative mean square error {summary['relative_mse']:.3g}, largest error {summary['max_abs_error']:.3g}"
    found = summary["metric"]
    if found is not None:
        metric, original, restored = Metric(found["name"]), found["original"], found["restored"]
        change = metric.format_change(restored - original)
        yield f"  {metric.name}: {metric.format(original)} -> {metric.format(restored)} ({change})"


def sections_table(summary: Summary) -> Table:
    """Where every byte of the file went."""
    table = new_table("section", "bytes", "%")
    for name, size in sorted(summary["sections"].items(), key=lambda item: -item[1]):
        table.add_row(name, f"{size:,}", f"{100 * size / summary['file_bytes']:.1f}")
    table.add_section()
    table.add_row("all", f"{summary['file_bytes']:,}", "100.0")
    return table


def tensors_table(summary: Summary) -> Table:
    """What the tensors take, in the source's order, and what all of them share: together the file."""
    table = new_table("tensor", "stored", "bits/weight", "restored", "shape", "dtype", "coding")
    before = 0.0
    for tensor in summary["tensor_list"]:
        shape = "x".join(map(str, tensor["shape"])) or "scalar"
        stored, elements = tensor["stored_bytes"] or 0.0, math.prod(tensor["shape"])
        bits = f"{8 * stored / elements:.2f}" if elements else "-"
        # Rounded so that the column adds up: whole numbers stay what they are.
        size = f"{_nearest(before + stored) - _nearest(before):,}"
        before += stored
        table.add_row(printable(tensor["name"]), size, bits, f"{tensor['bytes']:,}", shape, tensor["dtype"], tensor["coding"])
    table.add_row("shared by all", f"{summary['file_bytes'] - _nearest(before):,}", *[""] * 5)
    table.add_section()
    bits = f"{summary['bits_per_weight']:.2f}" if summary["weights"] else "-"
    table.add_row("all", f"{summary['file_bytes']:,}", bits, f"{summary['input_bytes']:,}", "", "", "")
    return table


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)


def new_table(*columns: str, texts: int = 1, title: str | None = None) -> Table:
    """A table whose first `texts` columns hold text, the others figures."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, column in enumerate(columns):
        if number < texts:
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table
