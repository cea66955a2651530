"""Which items the settings ask for, what each depends on, and roughly how long it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import weightzip
from weightzip.errors import UsageError
from weightzip.interface import JSON
from weightzip.measure.machine import machine_kind
from weightzip.measure.suite.items import (
    identity_of,
    is_float32,
    measure_codecs,
    measure_curve,
    measure_errors,
    measure_file,
    measure_rounded,
)
from weightzip.measure.suite.settings import SuiteSettings
from weightzip.measure.suite.subjects import Subject
from weightzip.zoo import entry

FILE, CURVE, CODECS, ROUNDED, ERRORS = "file", "baselines", "codecs", "rounded", "baselines-at-error"
_CODECS_SECONDS, _CURVE_SECONDS = 60.0, 120.0  # roughly, of a small checkpoint
_SECONDS_PER_BYTE = {CODECS: 4e-6, ROUNDED: 1.5e-6, ERRORS: 6e-6}


@dataclass(frozen=True)
class Item:
    """One measurement. identity: all that its figures depend on. seconds: roughly. measure: gives the
    figures, with a keyword `progress`."""

    kind: str
    subject: str
    how: str
    identity: dict[str, JSON]
    seconds: float
    measure: Callable[..., JSON]

    @property
    def name(self) -> str:
        """For people, and for the name of its file."""
        return " ".join(filter(None, (self.kind, self.subject, self.how)))


def plan(settings: SuiteSettings, real: Sequence[Subject], files: Path) -> list[Item]:
    """All items, adaptations last, as they take longest. files: a folder for .wz files.

    Raises UsageError for a model that the zoo does not have, and for two checkpoints of one name.
    """
    zoo = [Subject(name, entry(name).checkpoint) for name in settings.models]
    count = Counter(subject.name for subject in (*zoo, *real))
    if twice := [name for name in count if count[name] > 1]:
        raise UsageError(f"{', '.join(twice)}: there are two of that name; name each once, and rename a file of another's name")
    real_items = [item for subject in real for item in (*_codec_items(settings, subject), *_real_items(settings, subject))]
    zoo_items = [item for subject in zoo for item in (*_codec_items(settings, subject), *_zoo_items(settings, subject, files))]
    return sorted([*real_items, *zoo_items], key=lambda item: item.identity.get("adapt", "none") != "none")


def _zoo_items(settings: SuiteSettings, model: Subject, files: Path) -> Iterator[Item]:
    given = {"seed": settings.seed, "threads": settings.threads}
    for recipe in settings.scope.recipes:
        measure = partial(measure_file, model.name, recipe, files, seed=settings.seed, threads=settings.threads)
        yield _item(FILE, model, recipe.name, given | identity_of(recipe), recipe.seconds, measure)
    measure = partial(measure_curve, model.name, threads=settings.threads)
    yield _item(CURVE, model, "", {"threads": settings.threads}, _CURVE_SECONDS, measure)


def _codec_items(settings: SuiteSettings, subject: Subject) -> Iterator[Item]:
    environment, threads = settings.environment, settings.threads
    identity = {"threads": threads, "qualities": list(settings.scope.qualities), "peers": environment.versions}
    measure = partial(measure_codecs, subject.path, settings.scope.qualities, environment, threads=threads)
    yield _item(CODECS, subject, "", identity, _seconds(CODECS, subject), measure)


def _real_items(settings: SuiteSettings, subject: Subject) -> Iterator[Item]:
    environment, threads = settings.environment, settings.threads
    for dtype in settings.scope.dtypes if is_float32(subject.path) else ():
        measure = partial(measure_rounded, subject.path, dtype, environment, threads=threads)
        identity = {"threads": threads, "dtype": dtype, "peers": environment.versions}
        yield _item(ROUNDED, subject, dtype, identity, _seconds(ROUNDED, subject), measure)
    if settings.scope.baselines_at_error:
        measure = partial(measure_errors, subject.path, threads=threads)
        yield _item(ERRORS, subject, "", {"threads": threads}, _seconds(ERRORS, subject), measure)


def _item(
    kind: str, subject: Subject, how: str, identity: dict[str, JSON], seconds: float, measure: Callable[..., JSON]
) -> Item:
    program = {"weightzip": weightzip.__version__, "machine": machine_kind(), "checkpoint": subject.sha256}
    return Item(kind, subject.name, how, identity | program, seconds, measure)


def _seconds(kind: str, subject: Subject) -> float:
    size = subject.path.stat().st_size if subject.path.is_file() else 0
    return (_CODECS_SECONDS if kind == CODECS else 0.0) + _SECONDS_PER_BYTE[kind] * size
