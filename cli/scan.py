"""weightzip scan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightzip.cli.completing import complete_scan_family, complete_weights
from weightzip.cli.describe import new_table
from weightzip.cli.options import (
    PATH,
    destination_option,
    device_option,
    force_option,
    output_options,
    seed_option,
    threads_option,
)
from weightzip.cli.output import Output, printable
from weightzip.cli.progress import progress_bar
from weightzip.cli.sections import SectionedCommand

if TYPE_CHECKING:
    from rich.table import Table

    from weightzip.scan import ScanResult

_MOST_LISTED = 30


@click.command(cls=SectionedCommand)
@click.argument("model", type=PATH, shell_complete=complete_weights)
@click.option(
    "--against",
    metavar="OLD",
    type=PATH,
    shell_complete=complete_weights,
    help="An earlier checkpoint, or its .wz file: scan what has changed.",
)
@click.option(
    "--family",
    metavar="NAME",
    default="ensemble",
    show_default=True,
    shell_complete=complete_scan_family,
    help="A family of autoencoders, or all together.",
)
@click.option("--fail-on-flag", is_flag=True, help="Exit with 1 if a block is flagged.")
@destination_option("Draw a picture, a PNG file.")
@seed_option
@device_option
@threads_option
@force_option
@output_options
def scan(
    out: Output,
    model: Path,
    against: Path | None,
    family: str,
    fail_on_flag: bool,
    destination: Path | None,
    seed: int,
    device: str,
    threads: int | None,
    force: bool,
) -> None:
    """Find damaged or foreign blocks of weights.

    Cuts the weights into blocks of 64, learns what is usual in this very checkpoint, and flags blocks that do not belong:
    flipped bits and signs, noise, zeros, blocks of another tensor or another model. With --against, whatever has changed is
    looked at instead, which shows far more.

    What is flagged is odd, not necessarily wrong. The exit code is 0 all the same, unless --fail-on-flag is given.

    \b
    Examples:
      weightzip scan model.safetensors -o scan.png
      weightzip scan model.safetensors --against model.wz --fail-on-flag --json
    """
    from weightzip.files import check_output

    if destination is not None:
        check_output(destination, sources=[path for path in (model, against) if path is not None], force=force)
    with progress_bar(out) as progress:
        from weightzip.scan import draw_scan
        from weightzip.scan import scan as scan_model

        found = scan_model(model, against, family, seed=seed, device=device, threads=threads, progress=progress)
    if destination is not None:
        draw_scan(found, destination, model.name)
    out.result(found.to_json(), lambda: _tell(found, model))
    if len(found.weights) > 1:
        shares = ", ".join(f"{name} {weight:.2f}" for name, weight in found.weights.items())
        out.detail(f"weights of the families and their means: {shares}")
    for note in found.notes:
        out.message(f"{model}: {note}")
    if fail_on_flag and found.flagged:
        click.get_current_context().exit(1)


def _tell(found: ScanResult, model: Path) -> Iterator[str | Table]:
    yield f"{model}: {len(found.flagged):,} of {found.blocks:,} blocks flagged"
    if not found.flagged:
        return
    table = new_table("tensor", "elements", "score", "limit")
    for flag in found.flagged[:_MOST_LISTED]:
        table.add_row(printable(flag.tensor), f"{flag.start:,} to {flag.end - 1:,}", f"{flag.score:.2f}", f"{flag.limit:.2f}")
    yield table
    if len(found.flagged) > _MOST_LISTED:
        yield f"and {len(found.flagged) - _MOST_LISTED:,} more; --json lists all"
