"""weightzip compress."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightzip.cli.describe import compressed
from weightzip.cli.options import (
    destination_option,
    device_option,
    force_option,
    output_options,
    seed_option,
    threads_option,
)
from weightzip.cli.output import Output
from weightzip.cli.progress import progress_bar
from weightzip.cli.vae_options import VAECommand, vae_options, vae_settings

if TYPE_CHECKING:
    from torch import nn

_TORCHVISION = "torchvision:"


@click.command(cls=VAECommand)
@click.argument("model")
@destination_option("The file to write.  [default: MODEL with the suffix .wz]")
@click.option("--preset", type=click.Choice(["auto", "paper"]), default="auto", show_default=True, help="The codec.")
@click.option("--ratio", type=float, metavar="R", help="Target: at most input/R bytes.")
@click.option("--bpw", type=float, metavar="B", help="Target: at most B bits per weight, whole file.")
@click.option("--max-error", type=float, metavar="E", help="Target: no weight is off by more than E.")
@click.option("--max-drop", type=float, metavar="P", help="Target: the task's metric falls by at most P.")
@click.option("--lossless", is_flag=True, help="Target: every bit comes back.")
@click.option("--task", metavar="TASK", help="zoo:NAME or path/to/file.py:OBJECT; needed by --max-drop and --adapt.")
@click.option(
    "--adapt",
    type=click.Choice(["none", "calibrate", "finetune"]),
    default="none",
    show_default=True,
    help="Let weights adapt to the file: with unlabelled inputs, or with the task's loss.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=0),
    metavar="N",
    help="Of an adaptation; 0: layer by layer, without training.  [default: 2500 to calibrate, 10000 to finetune]",
)
@click.option("--include", multiple=True, metavar="GLOB", help="Only weights of these names may be lossy. May be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Weights of these names come back exactly. May be repeated.")
@seed_option
@device_option
@threads_option
@force_option
@click.option("--no-verify", is_flag=True, help="Do not decode what was written before it gets its name.")
@click.option("--dry-run", is_flag=True, help="Do everything but write; what is checked goes where temporary files go.")
@output_options
@vae_options
def compress(
    out: Output,
    model: str,
    destination: Path | None,
    preset: str,
    ratio: float | None,
    bpw: float | None,
    max_error: float | None,
    max_drop: float | None,
    lossless: bool,
    task: str | None,
    adapt: str,
    steps: int | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    seed: int,
    device: str,
    threads: int | None,
    force: bool,
    no_verify: bool,
    dry_run: bool,
    family: str | None,
    **vae: float | None,
) -> None:
    """Compress a checkpoint to one small .wz file.

    The smallest that meets the target; without a target, at the default quality. Give one target at most. MODEL is a
    .pt, .pth, .bin, .ckpt or .safetensors file, a folder of safetensors shards with their index, or torchvision:NAME; it is
    left as it is.

    \b
    Examples:
      weightzip compress model.safetensors
      weightzip compress model.pt -o small.wz --max-drop 0.5 --task evaluate.py:task
      weightzip compress model.pt --adapt finetune --max-drop 1 --task mytask.py:task
      weightzip compress model.pt --exclude "*.bias" --exclude "head.*"
      weightzip compress model.pt --preset paper --seed 0
      weightzip compress model.pt --preset paper --family heteroskedastic
    """
    settings = vae_settings(preset, family, vae)
    import weightzip

    source = _torchvision_model(model.removeprefix(_TORCHVISION), out) if model.startswith(_TORCHVISION) else Path(model)
    if destination is None and not isinstance(source, Path):
        destination = Path(f"{model.removeprefix(_TORCHVISION)}.wz")
    with progress_bar(out) as progress:
        summary = weightzip.compress(
            source,
            destination,
            preset=preset,
            ratio=ratio,
            bpw=bpw,
            max_error=max_error,
            max_drop=max_drop,
            lossless=lossless,
            task=task,
            adapt=adapt,
            steps=steps,
            include=include,
            exclude=exclude,
            vae=settings,
            seed=seed,
            device=device,
            threads=threads,
            force=force,
            verify=not no_verify,
            dry_run=dry_run,
            progress=progress,
        )
    summary["input"] = model
    out.result(summary, lambda: compressed(summary))
    sections = ", ".join(f"{name} {size:,}" for name, size in summary["sections"].items())
    out.detail(f"{summary['tensors']} tensors in {summary['seconds']:.1f} s; bytes by section: {sections}")
    if summary["note"]:
        out.message(summary["note"])
    if dry_run:
        out.message("dry run: nothing was written")


def _torchvision_model(name: str, out: Output) -> nn.Module:
    from weightzip.zoo.external import torchvision_model

    # torch draws a bar of its own while it downloads
    with contextlib.nullcontext() if out.shows_progress else contextlib.redirect_stderr(io.StringIO()):
        return torchvision_model(name)
