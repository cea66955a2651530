"""weightzip zoo: the reference models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightzip.cli.completing import complete_weights, complete_zoo_name
from weightzip.cli.describe import new_table
from weightzip.cli.group import SuggestingGroup
from weightzip.cli.options import PATH, destination_option, force_option, output_options, seed_option
from weightzip.cli.output import Output
from weightzip.cli.progress import progress_bar
from weightzip.cli.sections import SectionedCommand
from weightzip.progress import ProgressEvent

if TYPE_CHECKING:
    from rich.table import Table


@click.group(cls=SuggestingGroup)
def zoo() -> None:
    """List, train and evaluate the reference models.

    \b
    Examples:
      weightzip zoo list
      weightzip zoo eval mnist-fnn restored.safetensors
    """


@zoo.command("list", cls=SectionedCommand)
@output_options
def list_models(out: Output) -> None:
    """List the models and their trained checkpoints.

    \b
    Example:
      weightzip zoo list
    """
    from weightzip.zoo import entry, names

    rows = [
        {"name": item.name, "weights": item.num_weights, "checkpoint": str(item.checkpoint), "value": item.accuracy}
        for item in map(entry, names())
    ]

    def human() -> Iterator[str | Table]:
        table = new_table("name", "weights", "accuracy, %")
        for row in rows:
            table.add_row(str(row["name"]), f"{row['weights']:,}", f"{row['value']:.2f}")
        yield table
        yield f"checkpoints: {entry(names()[0]).checkpoint.with_name('NAME.safetensors')}"

    out.result(rows, human)


@zoo.command("train", cls=SectionedCommand)
@click.argument("name", shell_complete=complete_zoo_name)
@destination_option("The checkpoint to write.  [default: NAME.safetensors]")
@seed_option
@force_option
@output_options
def train_model(out: Output, name: str, destination: Path | None, seed: int, force: bool) -> None:
    """Train a model by its recipe.

    On MNIST, which comes along; a minute or a few.

    \b
    Example:
      weightzip zoo train mnist-fnn --seed 1 -o mine.safetensors
    """
    from weightzip.zoo import entry

    target = destination if destination is not None else Path(f"{entry(name).name}.safetensors")
    with progress_bar(out) as progress:
        from weightzip.zoo.tasks import ZooTask
        from weightzip.zoo.train import train

        trained = train(name, seed, progress, target, force=force)
    data = {
        "name": name,
        "metric": ZooTask(name).metric,
        "value": trained.accuracy,
        "checkpoint": str(target),
        "seconds": trained.seconds,
    }
    out.result(data, lambda: [f"{target}: {data['metric']}: {trained.accuracy:.2f}, trained in {trained.seconds:.0f} s"])


@zoo.command("eval", cls=SectionedCommand)
@click.argument("name", shell_complete=complete_zoo_name)
@click.argument("file", type=PATH, required=False, shell_complete=complete_weights)
@output_options
def evaluate_model(out: Output, name: str, file: Path | None) -> None:
    """Measure a checkpoint on MNIST's test images.

    FILE is any checkpoint of the model or a .wz; without FILE, the zoo's own.

    \b
    Example:
      weightzip zoo eval mnist-fnn model.wz
    """
    from weightzip.zoo import entry

    path = file if file is not None else entry(name).checkpoint
    with progress_bar(out) as progress:
        from weightzip.api import read_state
        from weightzip.tasks import evaluate_state, load_task

        task = load_task(f"zoo:{name}")
        progress(ProgressEvent("evaluating", 0, 1))
        value = evaluate_state(task, read_state(path))
    out.result({"name": name, "metric": task.metric, "value": value}, lambda: [f"{path}: {name}, {task.metric}: {value:.2f}"])
