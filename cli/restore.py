"""weightzip restore."""

from __future__ import annotations

from pathlib import Path

import click

from weightzip.cli.describe import both_ratios
from weightzip.cli.options import PATH, destination_option, force_option, memory_option, output_options, threads_option
from weightzip.cli.output import Output
from weightzip.cli.progress import progress_bar


@click.command()
@click.argument("file", type=PATH)
@destination_option("The file to write; its suffix chooses the format.  [default: the source's name, beside FILE]")
@click.option("--tensor", metavar="NAME", help="Only this one; `weightzip info FILE` lists them.")
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

    In the source's format, under its name and beside FILE, unless -o says otherwise.

    \b
    Examples:
      weightzip restore model.wz
      weightzip restore model.wz -o restored.pt
      weightzip restore model.wz --tensor fc1.weight -o fc1.safetensors
    """
    import weightzip
    from weightzip import api

    target = destination if destination is not None else api.default_restore_output(file)
    with progress_bar(out) as progress:
        state = weightzip.restore(file, target, tensor=tensor, memory=memory, threads=threads, force=force, progress=progress)
    if tensor is None and api.drops_content(file, target):
        out.message(f"{target}: holds the model's tensors only; the source held more, which a .pt file would hold as well")
    summary = weightzip.info(file)
    summary["input"], summary["output"] = str(file), str(target)
    restored_bytes = sum(value.nbytes for value in state.values())
    line = f"{file} -> {target}: {summary['file_bytes']:,} -> {restored_bytes:,} bytes, {len(state)} tensors"
    out.result(summary, lambda: [line.removesuffix("s") if len(state) == 1 else line, *both_ratios(summary)])
