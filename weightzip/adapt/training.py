"""Training latents and step sizes on loss + price x bits, at a price that the target finds.

    latents / steps --round--> symbols * steps --decode--> weights --module--> loss      gradients pass rounding unchanged
               codec's prices of the symbols at their classes ---------------> bits      (straight-through, Bengio et al. 2013)

Entropy-penalised reparameterisation (Oktay et al. 2020) with the prior that the file stores (`Rate`) in place of a learned
network. As in a VAE whose posterior is uniform noise of one step, loss + price x bits is the negative ELBO. Steps learn as in
LSQ (Esser et al. 2020). What is looked at and kept is a moving average of the latents, whose model is far better than that of
any moment (Polyak & Juditsky 1992).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from weightzip.adapt.goal import Candidate, Goal, Verdict
from weightzip.adapt.latents import Latents
from weightzip.adapt.rate import Rate
from weightzip.adapt.settings import AdaptSettings
from weightzip.codec.steps import Steps
from weightzip.codec.trained import TrainedCodec
from weightzip.errors import TaskError
from weightzip.progress import Progress, ProgressEvent

TENSORS = ("latents", "log_steps", "unsettled", "average")  # of a state
REFIT = 20  # steps after which the prior is fitted anew
_LOOKS = 40  # at the model, on the way
_STEPS_LEARN, _SETTLED = 0.3, 0.4  # of the run: until when step sizes are learned; when they are what a file can hold
_DECAYS = 0.3  # of the run, from when the learning rate falls, to nothing
_HALF = 0.5
_WARM_UP = 100  # steps
_OVERTIME, _OVERTIME_RATE, _OVERTIME_CHANGE = 4, 0.1, 3.0  # a share of the run; of the learning rate; the price's, at each look
_MOST_STEPS_BACK = 4
_FARTHEST_STEP = 5 * math.log(2)  # a step size from its beginning, so that a dead tensor's does not run away
_USUAL_RATIOS = 0.2, 200.0  # of the loss's gradient to that of the bits at the first price: within them the price is found
_LOWEST_RATE = 0.01
_FORGET = 0.98  # of the running means of loss and gradient


class Objective(Protocol):
    """A loss of the weights for a batch."""

    def loss(self, weights: Any, batch: Any) -> Tensor:
        """A scalar."""


@dataclass
class State:
    """All that changes while training, and that a run needs in order to go on.

    latents, average: [n]. log_steps, unsettled: of symbols, [tensors], now and when they began to settle.
    codes: of the steps that they settle to. price: loss per bit.
    slower: what the learning rate has been divided by. loss, norm: running means. best: of the best model that meets the goal,
    its symbols [n], bytes, metric, and how much of the run was done. closest: bytes of the smallest file seen. attempt: how
    often training has begun.
    """

    latents: Tensor
    log_steps: Tensor
    unsettled: Tensor
    average: Tensor
    optimiser: torch.optim.Adam
    price: float
    step: int = 0
    codes: tuple[int, ...] | None = None
    slower: float = 1.0
    loss: float = math.nan
    norm: float = math.nan
    best: tuple[Tensor, float, float | None, float] | None = None
    closest: float = math.inf
    attempt: int = 1


class Training:
    """One run. batches: an endless stream from a step on. file_bytes: of a codec's file. keep: called after each look."""

    def __init__(
        self,
        latents: Latents,
        trained: Tensor,
        objective: Objective,
        batches: Callable[[int], Iterator[Any]],
        goal: Goal,
        file_bytes: Callable[[TrainedCodec], int],
        settings: AdaptSettings,
        keep: Callable[[State], None],
        progress: Progress,
        stage: str,
        task_name: str,
    ) -> None:
        """trained: [tensors], 1 for those whose latents change."""
        self._latents, self._objective, self._batches = latents, objective, batches
        self._goal, self._file_bytes, self._settings = goal, file_bytes, settings
        self._keep, self._progress, self._stage, self._task_name = keep, progress, stage, task_name
        self._trained_tensors = trained.to(latents.index.device)
        self._trained = self._trained_tensors[latents.index]  # [n]
        self._shapes = latents.latent_shapes
        self._every = max(REFIT, settings.steps // _LOOKS // REFIT * REFIT)
        self._longest = settings.steps + settings.steps // _OVERTIME  # where the end finds no model that passes
        middle = latents.symbol_steps(latents.steps).log()
        self._step_range = middle - _FARTHEST_STEP, middle + _FARTHEST_STEP
        self._detail = ""

    def begin(self, latents: Tensor, steps: Steps) -> State:
        """A run from these latents [n] and fine steps on."""
        values, log_steps = latents.clone(), self._latents.symbol_steps(steps).log()
        groups = [{"params": [values]}, {"params": [log_steps]}]
        return State(
            values,
            log_steps,
            log_steps.clone(),
            latents.clone(),
            torch.optim.Adam(groups, fused=True),
            self._settings.first_price,
        )

    def run(self, state: State) -> TrainedCodec | None:
        """The codec of the best model found that meets the goal, if any does.

        Where the loss stops being a number, training goes back to the last look and on at half the speed, the second time
        without that batch; where that happens again and again, it ends with the best model so far. Raises TaskError where
        there is none.
        """
        with torch.enable_grad():  # whatever the caller has set
            self._train(state)
        if state.best is None:
            return None
        return self._latents.codec(state.best[0], Steps(self._latents.steps.base, state.codes or ()))

    def _train(self, state: State) -> None:
        saved = _copied(state)
        steps_back, failed = 0, -1
        batches = self._batches(state.step)
        while state.step < self._settings.steps or (state.best is None and state.step < self._longest):
            if not self._advance(state, next(batches)):
                steps_back += 1
                if steps_back > _MOST_STEPS_BACK and state.best is None:
                    raise TaskError(f"task {self._task_name}: the loss stops being a number, again and again")
                if steps_back > _MOST_STEPS_BACK:
                    return
                if state.step == failed:  # it is the batch, then, and not the speed
                    state.step += 1
                    state.slower /= 2
                    continue
                failed = state.step
                _restore(state, saved)
                state.slower *= 2
                batches = self._batches(state.step)
            elif state.step % self._every == 0 or state.step in (self._settings.steps, self._longest):
                self._look(state)
                saved, steps_back = _copied(state), 0
                self._keep(state)

    def _advance(self, state: State, batch: Any) -> bool:
        """One step of the optimiser; False where the loss or its gradient is no number, and nothing has changed."""
        self._prepare(state)
        step_sizes = state.log_steps.exp()[self._latents.index]
        positions = state.latents / step_sizes
        symbols = positions.round()
        values = (symbols * step_sizes).requires_grad_()
        loss = self._objective.loss(self._latents.decode(values), batch)
        (gradient,) = torch.autograd.grad(loss, values)
        number, norm = float(loss.detach()), float(gradient.norm())
        if not math.isfinite(number) or not math.isfinite(norm):
            if state.step == 0:
                what = "the loss of the quantised weights, or its gradient, is not a finite number"
                raise TaskError(f"task {self._task_name}: {what}")
            return False
        if state.step == 0:
            state.price *= self._share_of_price(norm, step_sizes, positions)
        known = math.isfinite(state.norm) and state.norm > 0
        gradient *= min(1.0, self._settings.clip * state.norm / norm) if norm > 0 and known else 1.0
        self._update(state, gradient, step_sizes, positions, symbols)
        state.loss = number if math.isnan(state.loss) else _FORGET * state.loss + (1 - _FORGET) * number
        usual = min(norm, 5 * state.norm) if known else norm
        state.norm = _FORGET * state.norm + (1 - _FORGET) * usual if known else norm
        state.step += 1
        self._progress(ProgressEvent(self._stage, state.step, max(state.step, self._settings.steps), self._detail))
        return True

    def _share_of_price(self, norm: float, step_sizes: Tensor, positions: Tensor) -> float:
        """What the first price is to be multiplied by, so that bits and a loss in units of its own do not drown each other."""
        by_rate = float((self._rate.slope(positions.abs()) / step_sizes * self._trained).norm())
        ratio = norm / (self._settings.first_price * by_rate) if by_rate else 0.0
        return min(1.0, ratio / _USUAL_RATIOS[0]) * max(1.0, ratio / _USUAL_RATIOS[1]) if ratio else 1.0

    def _prepare(self, state: State) -> None:
        """What is due before a step: learning rates, settled step sizes, and the prior."""
        done = self._done(state)
        self._settle(state, done)
        fall = 0.5 * (1 + math.cos(math.pi * (done - _DECAYS) / (1 - _DECAYS))) + _LOWEST_RATE if done > _DECAYS else 1.0
        fall = fall if done < 1 else _OVERTIME_RATE
        scale = min(1.0, (state.step + 1) / _WARM_UP) * fall / state.slower
        state.optimiser.param_groups[0]["lr"] = self._settings.learning_rate * scale
        state.optimiser.param_groups[1]["lr"] = self._settings.step_learning_rate * scale if state.codes is None else 0.0
        if state.step % REFIT == 0 or state.step == self._settings.steps:
            self._rate = Rate.fit((state.latents / state.log_steps.exp()[self._latents.index]).round(), self._shapes)

    def _settle(self, state: State, done: float) -> None:
        """Move the step sizes, from some time on, to the nearest that a file can hold, slowly enough for weights to follow."""
        if done >= _STEPS_LEARN and state.codes is None:
            state.codes = self._latents.snapped(state.log_steps.exp()).codes
            state.unsettled.copy_(state.log_steps)
        if state.codes is not None:
            settled = self._latents.symbol_steps(Steps(self._latents.steps.base, state.codes)).log()
            share = min(1.0, (done - _STEPS_LEARN) / (_SETTLED - _STEPS_LEARN))
            state.log_steps.copy_(torch.lerp(state.unsettled, settled, share))

    def _update(self, state: State, gradient: Tensor, step_sizes: Tensor, positions: Tensor, symbols: Tensor) -> None:
        magnitudes = positions.abs()
        pull = state.price * self._rate.slope(magnitudes)  # per symbol
        state.latents.grad = (gradient + pull * positions.sign() / step_sizes) * self._trained
        by_step = (gradient * (symbols - positions) * step_sizes - pull * magnitudes) * self._trained
        state.log_steps.grad = torch.zeros_like(state.log_steps).index_add_(0, self._latents.index, by_step)
        state.optimiser.step()
        state.log_steps.copy_(state.log_steps.clamp(*self._step_range))
        share = max(1 - self._settings.averaging, 5 / (state.step + 5))
        state.average.lerp_(state.latents, share)

    def _look(self, state: State) -> None:
        """Judge the averaged model, keep it if it is the best so far, and move the price."""
        done = self._done(state)
        step_sizes = state.log_steps.exp()[self._latents.index]
        symbols = (state.average / step_sizes).round()
        codec = self._latents.codec(symbols, self._latents.snapped(state.log_steps.exp()))
        size = float(self._file_bytes(codec))
        exact = done > _SETTLED
        if exact and state.codes is None:  # in a run of a few steps
            state.codes = self._latents.snapped(state.log_steps.exp()).codes
        tensors = codec.restored() if exact else self._plain(symbols * step_sizes)
        verdict = self._goal.judge(Candidate(tensors, size, done))
        state.closest = min(state.closest, size)
        if exact and verdict.passes and (state.best is None or self._goal.better((size, done), (state.best[1], state.best[3]))):
            state.best = (symbols.to("cpu", torch.int32), size, verdict.value, done)
        state.price *= self._change(verdict.room, done)
        self._detail = self._described(state, size, verdict)

    def _change(self, room: float, done: float) -> float:
        """The factor by which the price moves."""
        if done >= 1:
            return _OVERTIME_CHANGE if room > 0 else 1 / _OVERTIME_CHANGE
        speeds = self._settings.rising if room > 0 else self._settings.falling
        return math.exp(speeds[done >= _HALF] * room * self._every / self._settings.steps)

    def _done(self, state: State) -> float:
        """Of the run, 0 to 1."""
        return min(1.0, state.step / self._settings.steps)

    @torch.no_grad()
    def _plain(self, values: Tensor) -> dict[str, Tensor]:
        return {name: tensor.cpu() for name, tensor in self._latents.decode(values).items()}

    def _described(self, state: State, size: float, verdict: Verdict) -> str:
        bits = 8 * size / max(len(state.latents), 1)
        metric = "" if verdict.value is None else f", metric {verdict.value:.4g}"
        return f"{bits:.3f} bits per weight, loss {state.loss:.3g}{metric}"


def _copied(state: State) -> dict[str, Any]:
    """What a run goes back to when its loss stops being a number."""
    kept = {name: getattr(state, name) for name in ("price", "step", "codes", "loss", "norm")}
    tensors = {name: getattr(state, name).clone() for name in TENSORS}
    moments = [{key: value.clone() for key, value in each.items()} for each in state.optimiser.state.values()]
    return {"plain": kept, "tensors": tensors, "moments": moments}


def _restore(state: State, saved: dict[str, Any]) -> None:
    for name, value in saved["plain"].items():
        setattr(state, name, value)
    for name, tensor in saved["tensors"].items():
        getattr(state, name).copy_(tensor)
    state.optimiser.state.clear()
    for parameter, moments in zip((state.latents, state.log_steps), saved["moments"], strict=False):
        state.optimiser.state[parameter] = {key: value.clone() for key, value in moments.items()}
