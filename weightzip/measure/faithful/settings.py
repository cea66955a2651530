"""How much of everything: the whole benchmark, and a tiny one that only shows that it works."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Schedule:
    """Of a training. steps: at most. check_every: steps between two looks at the validation images. patience: looks without
    progress before stopping.
    """

    steps: int
    check_every: int
    patience: int = 6


@dataclass(frozen=True)
class Settings:
    """Of all parts. fitted, validation, test: images of MNIST's training set, those behind them, and of its test set.

    labelled: how many labels, in turn. semi_seeds: seeds of the semi-supervised part, whose labels differ from seed to seed.
    semi, alone: trainings with and without the unlabelled images. anomaly: training without one digit. digits: which ones.
    autoencoder: training of the three families that are compared with each other. denoiser: of those that see noisy images.
    scored: test images that are denoised. generated: images made up. noise: its deviation, of pixels from 0 to 1. seed: of
    all other parts.
    """

    fitted: int = 55_000
    validation: int = 5_000
    test: int = 10_000
    labelled: tuple[int, ...] = (100, 1_000)
    semi_seeds: tuple[int, ...] = (0, 1, 2)
    semi: Schedule = Schedule(800, 50)
    alone: Schedule = Schedule(300, 25)
    anomaly: Schedule = Schedule(500, 100)
    digits: tuple[int, ...] = tuple(range(10))
    autoencoder: Schedule = Schedule(1_500, 100)
    denoiser: Schedule = Schedule(1_500, 100)
    scored: int = 2_000
    generated: int = 5_000
    noise: float = 0.3
    seed: int = 0


FULL = Settings()
_FEW = Schedule(2, 1)
QUICK = Settings(
    fitted=400,
    validation=50,
    test=200,
    labelled=(20,),
    semi_seeds=(0, 1),
    semi=_FEW,
    alone=_FEW,
    anomaly=_FEW,
    digits=(1,),
    autoencoder=_FEW,
    denoiser=_FEW,
    scored=10,
    generated=50,
)


def reseeded(settings: Settings, seed: int) -> Settings:
    """The same with all seeds moved by one number."""
    return replace(settings, seed=settings.seed + seed, semi_seeds=tuple(seed + other for other in settings.semi_seeds))
