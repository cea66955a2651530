"""How long an adaptation trains, and how."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from weightzip.errors import UsageError


@dataclass(frozen=True)
class AdaptSettings:
    """steps: of the optimiser. learning_rate: Adam's, of latents in the weights' own unit; and of the logarithm of step sizes.

    first_price: of a bit, in units of the loss; the run finds the right one from there. rising, falling: how fast
    its logarithm moves at most, per whole run, in the first half and in the second. excess: see `KeepMetric`.
    averaging: of the latents that are looked at and kept, per step. clip: the gradient's norm is cut to so many times its
    usual one.
    """

    steps: int
    learning_rate: float = 1e-3
    step_learning_rate: float = 5e-3
    first_price: float = 4e-6
    rising: tuple[float, float] = (10.0, 5.0)
    falling: tuple[float, float] = (5.0, 8.0)  # slowly at first, as a model that has lost weights recovers by itself
    excess: float = 5.0
    averaging: float = 0.998
    clip: float = 1.5

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UsageError(f"--steps must not be negative: {self.steps}")

    def to_json(self) -> dict[str, object]:
        """What identifies them."""
        return asdict(self)


_LEVELS = {
    "calibrate": AdaptSettings(steps=2_500, excess=1.0),
    "finetune": AdaptSettings(steps=10_000),
}
LEVELS = tuple(_LEVELS)


def careful(settings: AdaptSettings) -> AdaptSettings:
    """Settings for a second attempt, where the first one has taken too much for the model to recover."""
    return replace(settings, excess=settings.excess / 2, falling=(5.0, 16.0))


def settings_for(level: str, steps: int | None = None) -> AdaptSettings:
    """The usual settings of a level; steps: another number of steps than usual."""
    return _LEVELS[level] if steps is None else replace(_LEVELS[level], steps=steps)
