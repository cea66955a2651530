"""`weightzip bench --suite`: its options, and how its results are told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightzip.cli.options import Command, destination_option, force_option
from weightzip.cli.output import Output
from weightzip.cli.progress import progress_bar

if TYPE_CHECKING:
    from weightzip.measure.suite import SuiteResults

_FOLDER = Path("weightzip-suite")
_OPTIONS = (
    click.option("--suite", is_flag=True, help="The page of results: the zoo and real checkpoints, every baseline and peer."),
    destination_option(f"With --suite: the folder of results, where a run goes on.  [default: {_FOLDER}]"),
    click.option("--models", metavar="NAME", multiple=True, help="With --suite: only this model of the zoo; may be repeated."),
    force_option,
)


def suite_options(command: Command) -> Command:
    """What is measured and where it goes; a command gets them by these names."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def bench_suite(
    out: Output,
    checkpoints: tuple[Path, ...],
    *,
    folder: Path | None,
    models: tuple[str, ...],
    peers: Path | None,
    seed: int,
    threads: int,
    quick: bool,
    force: bool,
) -> None:
    """Measure what is not measured yet, and answer with the page. Raises a WeightzipError."""
    from weightzip.measure.environment import find_peers
    from weightzip.measure.suite import FULL, PAGE, QUICK, SuiteSettings, page, run_suite
    from weightzip.zoo import names

    folder = folder or _FOLDER
    scope = QUICK if quick else FULL
    settings = SuiteSettings(find_peers(peers), scope, models or names(), checkpoints, seed, threads)
    with progress_bar(out) as progress:
        results = run_suite(settings, folder, progress, force=force)
    out.result(results.to_json(), lambda: page(results).splitlines())
    out.message(f"{folder / PAGE}: written")
    _tell_absent(out, results)


def fill_tables(out: Output, folder: Path | None, table: Path) -> None:
    """Write the tables of a folder's results between the markers of a file; nothing is measured. Raises a WeightzipError."""
    from weightzip.measure.suite import read_results, update_tables

    names = update_tables(table, read_results(folder or _FOLDER))
    out.result({"file": str(table), "tables": list(names)}, lambda: [f"{table}: {', '.join(names)}"])


def _tell_absent(out: Output, results: SuiteResults) -> None:
    if results.not_installed:
        out.message(f"not installed: {', '.join(results.not_installed)}; `weightzip bench --help` says how to add them")
    for name, reason in results.failed.items():
        out.message(f"{name}: left out: {reason}; the same command tries it again")
