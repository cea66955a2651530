"""The rows as a table in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from weightzip.measure.faithful.rows import Row

COLUMNS = ("part", "setting", "measure", "measured", "published", "seeds", "steps", "seconds")


def markdown(rows: Iterable[Row]) -> str:
    """A line for each row, below a header.

    >>> print(markdown([Row("semi", "dense", "accuracy", 0.8124, 0.808, (0, 1), 200, 31.2, 0.01)]))
    | part | setting | measure | measured | published | seeds | steps | seconds |
    | --- | --- | --- | --- | --- | --- | --- | --- |
    | semi | dense | accuracy | 0.812 ± 0.010 | 0.808 | 0, 1 | 200 | 31 |
    """
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(row: Row) -> tuple[str, ...]:
    """What stands in each column."""
    spread = "" if row.spread is None else f" ± {figure(row.spread)}"
    published = "-" if row.published is None else figure(row.published)
    seeds = ", ".join(map(str, row.seeds))
    work = (f"{row.steps:,}", f"{row.seconds:.0f}") if row.steps else ("-", "-")
    return (row.experiment, row.setting, row.measure, f"{figure(row.measured)}{spread}", published, seeds, *work)


def figure(number: float) -> str:
    """A number with three decimals, or none where it is large.

    >>> figure(0.6666), figure(12.3456), figure(1234567.0)
    ('0.667', '12.35', '1,234,567')
    """
    if abs(number) >= 1_000:
        return f"{number:,.0f}"
    return f"{number:.2f}" if abs(number) >= 10 else f"{number:.3f}"
