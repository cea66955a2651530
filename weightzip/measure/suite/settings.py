"""What the suite measures, and with what."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from weightzip.measure.environment import Environment
from weightzip.zoo import names

POINTS = 1.0  # that a file may lose


@dataclass(frozen=True)
class Recipe:
    """A way to compress a model of the zoo; the fields are options of `weightzip compress`.

    name: on the page and in file names. seconds: roughly how long it takes, for the progress bar.
    """

    name: str
    seconds: float
    preset: str = "auto"
    max_drop: float | None = None
    adapt: str = "none"

    def command(self, model: str, seed: int) -> str:
        """The command line that does the same."""
        options = [f"--preset {self.preset}"] if self.preset != "auto" else []
        options += [f"--adapt {self.adapt}"] if self.adapt != "none" else []
        options += [f"--max-drop {self.max_drop:g} --task zoo:{model}"] if self.max_drop is not None else []
        return " ".join(["weightzip compress", f"zoo/checkpoints/{model}.safetensors", *options, f"--seed {seed}"])


DEFAULT = Recipe("default", 10)
MAX_DROP = Recipe("max-drop", 90, max_drop=POINTS)
PAPER = Recipe("paper", 50, preset="paper")
CALIBRATE = Recipe("calibrate", 180, max_drop=POINTS, adapt="calibrate")
FINETUNE = Recipe("finetune", 700, max_drop=POINTS, adapt="finetune")


@dataclass(frozen=True)
class Scope:
    """How much is measured.

    recipes: for each model of the zoo. qualities: signal-to-noise ratios in dB, of matrices and filters. dtypes: to which the
    weights of float32 checkpoints are also rounded, for lossless codecs. baselines_at_error: whether baselines run on real
    checkpoints.
    """

    recipes: tuple[Recipe, ...]
    qualities: tuple[float, ...]
    dtypes: tuple[str, ...]
    baselines_at_error: bool


FULL = Scope((DEFAULT, MAX_DROP, PAPER, CALIBRATE, FINETUNE), (13.0, 20.0), ("bfloat16", "float16"), True)
QUICK = Scope((DEFAULT, MAX_DROP, PAPER, CALIBRATE), (13.0,), (), False)


@dataclass(frozen=True)
class SuiteSettings:
    """What a run of the suite is asked for.

    environment: of the peers. models: of the zoo. checkpoints: real ones, besides those that installed packages bring.
    threads: of each codec. Raises UsageError for a model that the zoo does not have, when the suite is planned.
    """

    environment: Environment
    scope: Scope = FULL
    models: tuple[str, ...] = names()
    checkpoints: tuple[Path, ...] = ()
    seed: int = 0
    threads: int = 1

    @property
    def command(self) -> str:
        """The command line that asks for it, without what is only where it is on one machine."""
        return " ".join(self._words())

    def _words(self) -> Iterator[str]:
        yield "weightzip bench --suite"
        yield from (shlex.quote(path.name) for path in self.checkpoints)
        if self.scope == QUICK:
            yield "--quick"
        if self.models != names():
            yield from (f"--models {name}" for name in self.models)
        if self.environment.versions:
            yield "--peers peers"
        yield f"--seed {self.seed} --threads {self.threads}"
