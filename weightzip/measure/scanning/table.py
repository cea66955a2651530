"""A measurement of scans as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from weightzip.measure.scanning.bench import AreasByKind, ScanBenchmark, ScannedCheckpoint
from weightzip.measure.scanning.copies import DETECTORS
from weightzip.scan.faults import FAULTS

_FIGURES = {"auc": "AUC", "partial_auc": "partial AUC (p = 0.1)", "pr_auc": "PR-AUC"}


def scan_tables(found: ScanBenchmark) -> str:
    """Means over all checkpoints by detector and kind of fault, the mean by checkpoint, and what is flagged."""
    parts = [_by_kind(found, figure, title) for figure, title in _FIGURES.items()]
    return "\n\n".join([*parts, _by_checkpoint(found), _flagged(found)]) + "\n"


def _by_kind(found: ScanBenchmark, figure: str, title: str) -> str:
    rows = []
    for name in DETECTORS:
        means = [_average((checkpoint.areas[name][kind] for checkpoint in found.checkpoints), figure) for kind in FAULTS]
        general = _average((checkpoint.match_general[name] for checkpoint in found.checkpoints), figure)
        rows.append([name, *map(_number, means), f"**{_number(float(np.mean(means)))}**", _number(general)])
    against = [_average((checkpoint.against[kind] for checkpoint in found.checkpoints), figure) for kind in FAULTS]
    rows.append(["ensemble, against the .wz", *map(_number, against), f"**{_number(float(np.mean(against)))}**", "-"])
    return _table([title, *map(_words, FAULTS), "mean", "Match-General"], rows)


def _by_checkpoint(found: ScanBenchmark) -> str:
    """The mean AUC over kinds of faults."""
    rows = []
    for name in DETECTORS:
        means = [_mean_auc(checkpoint.areas[name]) for checkpoint in found.checkpoints]
        rows.append([name, *map(_number, means), f"**{_number(float(np.mean(means)))}**"])
    return _table(["mean AUC", *(checkpoint.source for checkpoint in found.checkpoints), "mean"], rows)


def _flagged(found: ScanBenchmark) -> str:
    """What the ensemble flags at its own threshold."""
    head = ["flagged by the ensemble", "blocks", "clean checkpoint", "damaged copies: clean blocks", *map(_words, FAULTS)]
    return _table(head, [row for checkpoint in found.checkpoints for row in _flag_rows(checkpoint)])


def _flag_rows(checkpoint: ScannedCheckpoint) -> Iterator[list[str]]:
    blocks, copies = checkpoint.blocks, checkpoint.copies
    share = f"{checkpoint.clean_flagged} ({100 * checkpoint.clean_flagged / blocks:.2f}%)"
    false = f"{checkpoint.false_flags} of {copies * blocks:,}"
    yield [checkpoint.source, f"{blocks:,}", share, false, *(_of(*checkpoint.caught[kind]) for kind in FAULTS)]
    false = f"{checkpoint.against_false_flags} of {blocks:,}"
    yield ["… against its .wz", "", "", false, *(_of(*checkpoint.against_caught[kind]) for kind in FAULTS)]


def _of(hit: int, among: int) -> str:
    return f"{hit}/{among}"


def _mean_auc(areas: AreasByKind) -> float:
    return _average((areas[kind] for kind in FAULTS), "auc")


def _average(areas: Iterable[dict[str, float] | None], figure: str) -> float:
    there = [each[figure] for each in areas if each is not None]
    return float(np.mean(there)) if there else float("nan")


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
