"""weightzip restore."""

from __future__ import annotations

from pathlib import Path

import click

from weightzip.cli.completing import complete_packed, complete_tensor
from weightzip.cli.describe import both_ratios
from weightzip.cli.options import PATH, destination_option, force_option, memory_option, output_options, threads_option
from weightzip.cli.output import Output
from weightzip.cli.progress import progress_bar
from weightzip.cli.sections import SectionedCommand


@click.command(cls=SectionedCommand)
@click.argument("file", type=PATH, shell_complete=complete_packed)
@destination_option("The file to write; its suffix chooses the format.  [default: beside FILE, the source's name, or NAME's]")
@click.option(
    "--tensor", metavar="NAME", shell_complete=complete_tensor, help="Only this one; `weightzip info FILE` lists them."
)
@memory_option
@threads_option
@force_option
@output_options
def restore(
    out: Output,
    file: Path,
    destination: Path | None,
    tensor: str | None,
    memory: int | None,
    threads: int | None,
    force: bool,
) -> None:
    """Restore the checkpoint from a .wz file.

    In the source's format, under its name and beside FILE, unless -o says otherwise. One tensor alone goes to a
    file named after the tensor, never to the source's name.

    \b
    Examples:
      weightzip restore model.wz
      weightzip restore model.wz -o restored.pt
      weightzip restore model.wz --tensor fc1.weight
    """
    with progress_bar(out) as progress:
        from weightzip import api

        restored = api.restore_to(
            file, destination, tensor=tensor, memory=memory, threads=threads, force=force, progress=progress
        )
    target, summary, count = restored.output, restored.summary, restored.num_tensors
    if not restored.complete:
        out.message(f"{target}: holds the model's tensors only; the source held more, which a .pt file would hold as well")
    summary["input"], summary["output"] = str(file), str(target)
    sizes = f"{summary['file_bytes']:,} -> {restored.num_bytes:,} bytes"
    line = f"{file} -> {target}: {sizes}, {count} tensor{'s' if count != 1 else ''}"
    out.result(summary, lambda: [line, *both_ratios(summary)])
    out.detail(f"preset {summary['preset']}, restored in {summary['seconds']:.1f} s")
