"""weightzip info and weightzip test: what a .wz file holds, and whether it is whole."""

from __future__ import annotations

from pathlib import Path

import click

from weightzip.cli.completing import complete_packed
from weightzip.cli.describe import both_ratios, compressed, sections_table, tensors_table
from weightzip.cli.options import PATH, memory_option, output_options
from weightzip.cli.output import Output
from weightzip.cli.progress import progress_bar
from weightzip.cli.sections import SectionedCommand


@click.command(cls=SectionedCommand)
@click.argument("file", type=PATH, shell_complete=complete_packed)
@output_options
def info(out: Output, file: Path) -> None:
    """Show where every byte of a .wz file went.

    \b
    Examples:
      weightzip info model.wz
      weightzip info model.wz --json
    """
    import weightzip

    summary = weightzip.info(file)
    out.result(summary, lambda: [*compressed(summary), sections_table(summary), tensors_table(summary)])


@click.command(cls=SectionedCommand)
@click.argument("file", type=PATH, shell_complete=complete_packed)
@memory_option
@output_options
def test(out: Output, file: Path, memory: int | None) -> None:
    """Check that a .wz file is whole.

    Its hashes, its limits, and that all of it decodes. Writes nothing.

    \b
    Example:
      weightzip test model.wz
    """
    import weightzip

    with progress_bar(out) as progress:
        summary = weightzip.test(file, memory=memory, progress=progress)
    line = f"{file}: OK, {summary['file_bytes']:,} bytes, {summary['tensors']} tensors, preset {summary['preset']}"
    out.result(summary, lambda: [line, *both_ratios(summary)])
    out.detail(f"checked in {summary['seconds']:.1f} s")
