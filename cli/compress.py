"""weightzip compress."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightzip.cli.completing import complete_checkpoint, complete_task
from weightzip.cli.describe import compressed
from weightzip.cli.expected import expected
from weightzip.cli.options import (
    WholeNumber,
    destination_option,
    device_option,
    force_option,
    output_options,
    seed_option,
    threads_option,
)
from weightzip.cli.output import Output
from weightzip.cli.progress import progress_bar
from weightzip.cli.sections import SectionedCommand
from weightzip.cli.vae_options import VAE_SECTION, vae_options, vae_settings

if TYPE_CHECKING:
    from torch import nn

_SECTIONS = {
    "Target, one at most": ("ratio", "bpw", "max_error", "max_drop", "lossless"),
    "With data": ("task", "adapt", "steps"),
    "What is coded, and how": ("preset", "include", "exclude", "seed", "device", "threads"),
    "Output": ("destination", "force", "no_verify", "dry_run"),
    VAE_SECTION[0]: VAE_SECTION[1],
}


@click.command(cls=SectionedCommand, sections=_SECTIONS)
@click.argument("model", shell_complete=complete_checkpoint)
@destination_option("The file to write.  [default: MODEL with the suffix .wz]")
@click.option("--preset", type=click.Choice(["auto", "paper"]), default="auto", show_default=True, help="The codec.")
@click.option("--ratio", type=float, metavar="R", help="At most input/R bytes.")
@click.option("--bpw", type=float, metavar="B", help="At most B bits per weight, whole file.")
@click.option("--max-error", type=float, metavar="E", help="No weight is off by more than E.")
@click.option("--max-drop", type=float, metavar="P", help="The task's metric falls by at most P.")
@click.option("--lossless", is_flag=True, help="Every bit comes back.")
@click.option(
    "--task",
    metavar="TASK",
    shell_complete=complete_task,
    help="zoo:NAME or path/to/file.py:OBJECT; needed by --max-drop and --adapt.",
)
@click.option(
    "--adapt",
    type=click.Choice(["none", "calibrate", "finetune"]),
    default="none",
    show_default=True,
    help="Let weights adapt to the file: with unlabelled inputs, or with the task's loss.",
)
@click.option(
    "--steps",
    type=WholeNumber(0),
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
@click.option("--dry-run", is_flag=True, help="Write nothing; say what size, time and memory to expect.")
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
    .pt, .pth, .bin, .ckpt or .safetensors file, or a folder around one, or around shards with their index; it is left as it
    is. hf:ORG/NAME is a model of Hugging Face's hub (@REVISION may follow), torchvision:NAME one of torchvision.

    \b
    Examples:
      weightzip compress model.safetensors
      weightzip compress hf:openai-community/gpt2
      weightzip compress model.pt --ratio 20 --dry-run
      weightzip compress model.pt --max-drop 0.5 --task evaluate.py:task
      weightzip compress model.pt --adapt finetune --max-drop 1 --task my.py:task
      weightzip compress model.pt --exclude "*.bias" --exclude "head.*"
      weightzip compress model.pt --preset paper --seed 0
      weightzip compress model.pt --preset paper --family heteroskedastic
    """
    settings = vae_settings(preset, family, vae)
    import weightzip

    with _source(model, destination, out, force=force or dry_run) as (source, target), progress_bar(out) as progress:
        summary = weightzip.compress(
            source,
            target,
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
    if dry_run:
        out.result(summary, lambda: expected(summary))
        out.message("dry run: nothing was written")
        return
    out.result(summary, lambda: compressed(summary))
    sections = ", ".join(f"{name} {size:,}" for name, size in summary["sections"].items())
    out.detail(f"{summary['tensors']} tensors in {summary['seconds']:.1f} s; bytes by section: {sections}")
    if summary["note"]:
        out.message(summary["note"])


@contextlib.contextmanager
def _source(
    model: str, destination: Path | None, out: Output, *, force: bool
) -> Iterator[tuple[Path | nn.Module, Path | None]]:
    """What is to be compressed, and to which file; None for the source's own name with another suffix."""
    if ":" not in model and os.path.lexists(model):  # a file, before the import of torch, which the progress bar is to show
        yield Path(model), destination
        return
    from weightzip import remote
    from weightzip.files import check_output

    if not remote.is_remote(model):
        remote.check_local(model)
        yield Path(model), destination
        return
    target = destination or remote.default_output(model)
    check_output(target, force=force)  # before anything is downloaded
    out.detail(f"fetching {model}")
    with contextlib.ExitStack() as stack:
        # the libraries draw bars of their own while they download
        with contextlib.nullcontext() if out.shows_progress else contextlib.redirect_stderr(io.StringIO()):
            source = stack.enter_context(remote.fetched(model))
        yield source, target
