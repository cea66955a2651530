"""weightzip sample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightzip.cli.completing import complete_packed, complete_task
from weightzip.cli.describe import new_table
from weightzip.cli.options import (
    PATH,
    WholeNumber,
    destination_option,
    force_option,
    memory_option,
    output_options,
    seed_option,
    threads_option,
)
from weightzip.cli.output import Output, printable
from weightzip.cli.progress import progress_bar
from weightzip.cli.sections import SectionedCommand

if TYPE_CHECKING:
    from rich.table import Table

    from weightzip.sampling import Sampled


@click.command(cls=SectionedCommand)
@click.argument("file", type=PATH, shell_complete=complete_packed)
@click.option("-n", "--count", metavar="N", type=WholeNumber(1), default=1, show_default=True, help="How many draws.")
@click.option(
    "--temperature",
    metavar="T",
    type=float,
    default=1.0,
    show_default=True,
    help="What the noise is multiplied by; 0 gives the restored weights.",
)
@click.option(
    "--task",
    metavar="TASK",
    shell_complete=complete_task,
    help="zoo:NAME or path/to/file.py:OBJECT; measures the restored weights and each draw.",
)
@destination_option(
    "The file to write; its suffix chooses the format. Of several draws, the name before -1, -2, and so on."
    "  [default: beside FILE, the source's name with -sample]"
)
@seed_option
@memory_option
@threads_option
@force_option
@output_options
def sample(
    out: Output,
    file: Path,
    count: int,
    temperature: float,
    task: str | None,
    destination: Path | None,
    seed: int,
    memory: int | None,
    threads: int | None,
    force: bool,
) -> None:
    """Draw new weights from the posterior around a .wz file's model.

    A .wz file says in which cell each latent lies. A draw puts every latent somewhere in its cell, and is about as far from the
    restored weights as these are from the source's: for ensembles, and to see how much noise a model bears. Tensors that are
    stored exactly stay as they are.

    \b
    Examples:
      weightzip sample model.wz
      weightzip sample model.wz -n 5 --seed 1 -o draws/model.safetensors
      weightzip sample model.wz -n 10 --temperature 2 --task mytask.py:task
    """
    with progress_bar(out) as progress:
        from weightzip import api

        sampled = api.sample_to(
            file,
            destination,
            count=count,
            temperature=temperature,
            seed=seed,
            task=task,
            memory=memory,
            threads=threads,
            force=force,
            progress=progress,
        )
    if not sampled.complete:
        out.message("the outputs hold the model's tensors only; the source held more, which .pt files would hold as well")
    metric = sampled.metric
    samples = [
        {
            "output": str(each.output),
            "relative_mse": each.relative_mse,
            "metric": None if metric is None else {"name": metric, "restored": sampled.restored, "sample": each.value},
        }
        for each in sampled.samples
    ]
    out.result({"input": str(file), "temperature": temperature, "seed": seed, "samples": samples}, lambda: _table(sampled))


def _table(sampled: Sampled) -> Iterator[Table]:
    """A row for each draw; with a task, one for the restored weights before them."""
    metrics = [] if sampled.metric is None else [printable(sampled.metric)]
    table = new_table("weights", "relative mean square error", *metrics)
    if sampled.restored is not None:
        table.add_row("as restored", "0", f"{sampled.restored:.2f}")
    for each in sampled.samples:
        value = [] if each.value is None else [f"{each.value:.2f}"]
        table.add_row(printable(str(each.output)), f"{each.relative_mse:.3g}", *value)
    yield table
