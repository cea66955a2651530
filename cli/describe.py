"""How a file's summary is told to people: the whole-file ratio first, the paper's accounting beside it and labelled so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from weightzip.cli.output import printable
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
        f"{_change(summary['ratio'])} ({summary['bits_per_weight']:.2f} bits per weight)"
    )
    yield from both_ratios(summary)
    yield from quality(summary)


def _change(ratio: float) -> str:
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
    metric = summary["metric"]
    if metric is not None:
        change = metric["restored"] - metric["original"]
        yield f"  {metric['name']}: {metric['original']:.2f} -> {metric['restored']:.2f} ({change:+.2f})"


def sections_table(summary: Summary) -> Table:
    """Where every byte of the file went."""
    table = new_table("section", "bytes", "%")
    for name, size in sorted(summary["sections"].items(), key=lambda item: -item[1]):
        table.add_row(name, f"{size:,}", f"{100 * size / summary['file_bytes']:.1f}")
    table.add_section()
    table.add_row("all", f"{summary['file_bytes']:,}", "100.0")
    return table


def tensors_table(summary: Summary) -> Table:
    """The tensors, in the source's order."""
    table = new_table("tensor", "restored bytes", "shape", "dtype", "coding")
    for tensor in summary["tensor_list"]:
        shape = "x".join(map(str, tensor["shape"])) or "scalar"
        table.add_row(printable(tensor["name"]), f"{tensor['bytes']:,}", shape, tensor["dtype"], tensor["coding"])
    return table


def new_table(*columns: str, texts: int = 1, title: str | None = None) -> Table:
    """A table whose first `texts` columns hold text, the others figures."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        if number < texts:
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table
