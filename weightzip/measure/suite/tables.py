"""The results as tables in Markdown, each by the name under which a page asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from weightzip.interface import JSON
from weightzip.measure.environment import NNCODEC, ZIPNN
from weightzip.measure.equal_error import decibels
from weightzip.measure.speed import LOSSLESS, WEIGHTZIP, ZSTD
from weightzip.measure.suite.items import bytes_at
from weightzip.measure.suite.plan import CODECS, CURVE, ERRORS, FILE, ROUNDED
from weightzip.measure.suite.results import SuiteResults, rows_of
from weightzip.measure.suite.settings import CALIBRATE, DEFAULT, FINETUNE, MAX_DROP, PAPER, POINTS
from weightzip.results import OWN, Point, by_method, smallest_within

Lines = Iterator[list[str]]


def table(name: str, results: SuiteResults) -> str:
    """A table with the line that says when and how it was measured. `name`: of `NAMES`."""
    _, head, _ = _TABLES[name]
    lines = _lines(name, results)
    body = _markdown(head(results), lines) if lines else "Nothing of this was measured."
    return f"{body}\n\n{_origin(results)}"


def has_rows(name: str, results: SuiteResults) -> bool:
    """Whether anything of a table was measured."""
    return bool(_lines(name, results))


def _lines(name: str, results: SuiteResults) -> list[list[str]]:
    _, _, rows = _TABLES[name]
    return [line for line in rows(results) if any(line[1:])]


def title(name: str) -> str:
    """What a table shows, as a heading."""
    return _TABLES[name][0]


def _origin(results: SuiteResults) -> str:
    version = results.versions.get("weightzip", "-")
    return f"Measured on {results.date} on {results.machine}, with weightzip {version}: `{results.command}`."


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _zoo_head(_: SuiteResults) -> list[str]:
    ratio, accuracy = "whole file", "accuracy"
    paper = ["`paper`: latents only", f"`paper`: {ratio}", accuracy]
    return ["model", "original", *paper, f"`auto`: {ratio}", accuracy, f"`auto --max-drop {POINTS:g}`", accuracy]


def _zoo(results: SuiteResults) -> Lines:
    found = [results.of(FILE, recipe.name) for recipe in (PAPER, DEFAULT, MAX_DROP)]
    for model in dict.fromkeys(name for files in found for name in files):
        paper, *others = (files.get(model) for files in found)
        original = next(file["original"] for file in (paper, *others) if file)
        latents = _times(paper["latent_ratio"]) if paper else ""
        yield [model, f"{original:.2f}", latents, *_file(paper), *(cell for file in others for cell in _file(file))]


def _adapt_head(_: SuiteResults) -> list[str]:
    levels = [cell for recipe in (CALIBRATE, FINETUNE) for cell in (f"`--adapt {recipe.adapt}`", "accuracy", "minutes")]
    return ["model", "original", f"no data: `--max-drop {POINTS:g}`", *levels]


def _adapt(results: SuiteResults) -> Lines:
    plain, *levels = (results.of(FILE, recipe.name) for recipe in (MAX_DROP, CALIBRATE, FINETUNE))
    for model in dict.fromkeys(name for files in levels for name in files):
        files = [level.get(model) for level in levels]
        original = next(file["original"] for file in files if file)
        cells = [cell for file in files for cell in (*_file(file), f"{file['seconds'] / 60:.1f}" if file else "")]
        yield [model, f"{original:.2f}", _file(plain.get(model))[0], *cells]


def _file(file: JSON) -> list[str]:
    """Ratio and accuracy."""
    return [_times(file["ratio"]), f"{file['value']:.2f}"] if file else ["", ""]


def _curves(results: SuiteResults) -> dict[str, dict[str, list[Point]]]:
    """By model and method."""
    return {model: by_method(Point(**point) for point in found) for model, found in results.of(CURVE).items()}


def _methods(results: SuiteResults) -> list[str]:
    """The baselines, in the order of their sweep."""
    return [
        method for method in dict.fromkeys(name for curve in _curves(results).values() for name in curve) if method not in OWN
    ]


def _baselines_head(results: SuiteResults) -> list[str]:
    return ["model", f"weightzip `--max-drop {POINTS:g}`", *_methods(results)]


def _baselines(results: SuiteResults) -> Lines:
    own = results.of(FILE, MAX_DROP.name)
    for model, curve in _curves(results).items():
        best = [smallest_within(curve.get(method, ()), POINTS) for method in _methods(results)]
        mine = own.get(model)
        first = f"{_times(mine['ratio'])} ({mine['value']:.2f})" if mine else "-"
        yield [model, first, *(f"{_times(point.ratio)} ({point.value:.2f})" if point else "-" for point in best)]


def _codecs_head(_: SuiteResults) -> list[str]:
    return ["checkpoint", "weights", "dB", "weightzip, bytes", "NNCodec, bytes", "weightzip / NNCodec"]


def _codecs(results: SuiteResults) -> Lines:
    for subject, found in results.of(CODECS).items():
        for number, rows in enumerate(_by_codec(found)):
            first = ["", ""] if number else [subject, _count(found["weights"])]
            yield [*first, _db(rows[WEIGHTZIP], found), *_against(rows[WEIGHTZIP], rows.get(NNCODEC))]


def _against(own: JSON, peer: JSON) -> list[str]:
    if peer is None:
        return [f"{own['bytes']:,}", "-", "-"]
    return [f"{own['bytes']:,}", f"{peer['bytes']:,}", f"{own['bytes'] / peer['bytes']:.3f}"]


def _by_codec(found: JSON) -> Iterator[dict[str, JSON]]:
    """For each quality, the rows by codec."""
    return ({row["codec"]: row for row in rows_of(found, quality)} for quality in found["qualities"])


def _db(row: JSON, found: JSON) -> str:
    return f"{_matrix_db(row, found):.1f}"


def _matrix_db(row: JSON, found: JSON) -> float:
    return decibels(row["relative_mse"]) - float(found["offset_db"])


def _error_methods(results: SuiteResults) -> list[str]:
    """The baselines that can be steered to an error, in the order of their sweep."""
    count = [point["method"] for found in results.of(ERRORS).values() for point in found]
    return [method for method in dict.fromkeys(count) if method != "cast"]


def _equal_head(results: SuiteResults) -> list[str]:
    return ["checkpoint", "dB", "weightzip, bytes", *_error_methods(results)]


def _equal(results: SuiteResults) -> Lines:
    sweeps = results.of(ERRORS)
    for subject, found in results.of(CODECS).items():
        for number, rows in enumerate(_by_codec(found) if subject in sweeps else ()):
            own = rows[WEIGHTZIP]
            db = _matrix_db(own, found)
            sizes = [
                bytes_at([point for point in sweeps[subject] if point["method"] == method], db)
                for method in _error_methods(results)
            ]
            shares = ["-" if size is None else f"{size / own['bytes']:.2f}" for size in sizes]
            yield ["" if number else subject, f"{db:.1f}", f"{own['bytes']:,}", *shares]


def _lossless_head(_: SuiteResults) -> list[str]:
    return ["checkpoint", "dtype", "weightzip `--lossless`", ZIPNN, f"`{ZSTD}`"]


def _lossless(results: SuiteResults) -> Lines:
    kinds = [("as it is", results.of(CODECS))]
    kinds += [(f"rounded to {dtype}", results.of(ROUNDED, dtype)) for dtype in ("bfloat16", "float16")]
    for subject in results.of(CODECS):
        for number, (kind, measured) in enumerate((kind, found[subject]) for kind, found in kinds if subject in found):
            rows = {row["codec"]: row for row in rows_of(measured, None)}
            yield ["" if number else subject, kind, *(_ratio(rows.get(codec)) for codec in (LOSSLESS, ZIPNN, ZSTD))]


def _ratio(row: JSON) -> str:
    return f"{row['ratio']:.2f}x" if row else "-"


def _speed_head(_: SuiteResults) -> list[str]:
    return ["checkpoint", "codec", "dB", "encode MB/s", "decode MB/s", "encode peak MB", "decode peak MB"]


def _speed(results: SuiteResults) -> Lines:
    for subject, found in results.of(CODECS).items():
        for number, row in enumerate(found["rows"]):
            quality = "exact" if row["quality_db"] is None else _db(row, found)
            figures = (row[name] for name in ("encode_mb_s", "decode_mb_s", "encode_peak_mb", "decode_peak_mb"))
            cells = ["-" if figure is None else f"{figure:.1f}" for figure in figures]
            yield ["" if number else subject, row["codec"], quality, *cells]


def _count(number: int) -> str:
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number / 1e6:.2f} M"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1f}x"


_TABLES: dict[str, tuple[str, Callable[[SuiteResults], list[str]], Callable[[SuiteResults], Lines]]] = {
    "zoo": ("The zoo: accuracy against the whole file's ratio", _zoo_head, _zoo),
    "baselines": (
        f"The zoo: the smallest file of every method that loses at most {POINTS:g} point",
        _baselines_head,
        _baselines,
    ),
    "adapt": ("The zoo: with data", _adapt_head, _adapt),
    "codecs": ("At equal error, beside NNCodec", _codecs_head, _codecs),
    "equal": ("At equal error, beside the baselines", _equal_head, _equal),
    "lossless": ("Without loss", _lossless_head, _lossless),
    "speed": ("Speed and memory", _speed_head, _speed),
}
NAMES = tuple(_TABLES)
