"""The smallest file whose model still does its task: probes of a common step, of what each tensor alone can bear, and of both.

    original --evaluate--> metric to keep
    one step for all    --bisect-->  the coarsest that keeps it
    each group alone    --bisect-->  what it bears --balance--> steps in proportion --bisect-->  the coarsest of these
    the smaller of both --trade--->  one group coarser, perhaps another one finer, wherever that is smaller and keeps the metric

Between probes, transforms and latents are kept; only quantisation is done anew, and what would not be smaller is not evaluated.
The file itself is encoded with all that its own steps ask for, and evaluated as it decodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice, permutations

from torch import Tensor

from weightzip.checkpoint import Checkpoint
from weightzip.codec.auto import AutoCodec, Prepared
from weightzip.codec.encoding import encode, lossy_magnitudes
from weightzip.codec.lossless import LosslessCodec
from weightzip.codec.steps import STEPS_PER_OCTAVE, Steps, choose_steps
from weightzip.codec.symbols import Symbols, encode_symbols
from weightzip.errors import FormatError
from weightzip.interface import Codec
from weightzip.progress import Progress, ProgressEvent
from weightzip.search import balanced, bisect_log, tolerances

Evaluate = Callable[[dict[str, Tensor]], float]
# Fine steps, relative to the weights' deviation: those that transforms are chosen for, and the coarsest tried with them.
_REFERENCES = ((0.5, 2.0**3), (2.0**-7, 2.0**-7))
_RANGE = 64.0  # how much finer than its reference a step is tried
_COMMON_PROBES, _GROUP_PROBES, _BALANCED_PROBES = 10, 5, 7
_GROUPS = 12  # matrices that are probed by themselves, the largest ones
_SHARE = 0.5  # of the drop, which a group alone may take while its tolerance is sought
_WITHIN = 4.0  # a group's tolerance is sought within this factor of the common step, and four times as far upwards
_SIZED, _TRADES = 96, 24  # trades tried for their size, and of these evaluated, at most
_TRADED = 2  # quarter octaves that a group becomes coarser by, where another one becomes finer by one
_FINAL_PROBES, _COARSER_FIRST, _FINAL_STEP = 8, 3, 1.02  # what bisection found need not be the coarsest that passes


def meet_drop(checkpoint: Checkpoint, max_drop: float, evaluate: Evaluate, progress: Progress) -> Codec:
    """The codec of the smallest file found that loses at most `max_drop` of the metric; exact storage where no other does."""
    return _Search(checkpoint, max_drop, evaluate, progress).smallest()


@dataclass(frozen=True)
class _Setting:
    """A common step, relative to the weights' deviation, and quarter octaves by which tensors depart from it.

    reference: the step for which the transforms were chosen that it is probed with.
    """

    step: float
    shifts: Mapping[str, int] = field(default_factory=dict)
    reference: float = 0.0

    def moved(self, names: Sequence[str], by: int) -> _Setting:
        return replace(self, shifts={**self.shifts, **{name: self.shifts.get(name, 0) + by for name in names}})


@dataclass
class _Search:
    checkpoint: Checkpoint
    max_drop: float
    evaluate: Evaluate
    progress: Progress
    probes: int = field(default=0, init=False)
    expected: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.magnitudes = lossy_magnitudes(self.checkpoint)
        self.tensors = {name: self.checkpoint.dense(name).float() for name in self.magnitudes}
        self.groups = _groups(self.tensors)
        by_group = _GROUP_PROBES * len(self.groups) + _BALANCED_PROBES + _TRADES if len(self.groups) > 1 else 0
        self.expected = 1 + _COMMON_PROBES + by_group + 2 * _FINAL_PROBES
        self.original = self._value(dict(self.checkpoint.tensors), "the original")

    def smallest(self) -> Codec:
        """See `meet_drop`."""
        found = self._found() if self.groups else []
        return next(filter(None, map(self._final, found)), None) or LosslessCodec()

    def _found(self) -> list[_Setting]:
        """Settings that keep the metric, the one of the smallest file first."""
        for reference, coarsest in _REFERENCES:
            prepared = Prepared.of(self.tensors, choose_steps(self.magnitudes, reference, {}))
            step = bisect_log(
                lambda step, prepared=prepared: self._passes(prepared, _Setting(step)),  # type: ignore[misc]
                safe=reference / _RANGE,
                bold=coarsest,
                probes=_COMMON_PROBES,
            )
            if step is not None:
                return self._improved(prepared, _Setting(step, {}, reference))
        return []

    def _improved(self, prepared: Prepared, common: _Setting) -> list[_Setting]:
        """What can be made of a common step, the setting of the smallest file first."""
        if len(self.groups) < 2:
            return [common]
        settings = [common, *self._balanced(prepared, common)]
        sized = sorted((_size(self._quantised(prepared, setting)[0]), index) for index, setting in enumerate(settings))
        best, *others = [settings[index] for _, index in sized]
        return [self._traded(prepared, best, sized[0][0]), best, *others]

    def _balanced(self, prepared: Prepared, common: _Setting) -> Iterator[_Setting]:
        """The coarsest setting whose steps are in proportion to what each group alone can bear, if any keeps the metric."""
        alone = [prepared.only(group) for group in self.groups]
        tolerated = tolerances(
            lambda group, step: self._passes(alone[group], _Setting(step), share=_SHARE),
            len(self.groups),
            finest=common.step / _WITHIN,
            coarsest=common.step * _WITHIN**2,
            probes=_GROUP_PROBES,
        )
        sizes = [sum(self.tensors[name].numel() for name in group) for group in self.groups]
        setting = common
        for group, wanted in zip(self.groups, balanced(tolerated, sizes), strict=True):
            setting = setting.moved(group, round(STEPS_PER_OCTAVE * math.log2(wanted / common.step)))
        step = bisect_log(
            lambda step: self._passes(prepared, replace(setting, step=step)),
            safe=common.step / _WITHIN,
            bold=common.step * _WITHIN,
            probes=_BALANCED_PROBES,
        )
        if step is not None:
            yield replace(setting, step=step)

    def _traded(self, prepared: Prepared, best: _Setting, size: int) -> _Setting:
        """The best setting, moved as long as that makes the file smaller and keeps the metric."""
        moves = cycle([(group, None) for group in self.groups] + list(permutations(self.groups, 2)))
        evaluated = 0
        for number, (coarser, finer) in enumerate(islice(moves, _SIZED), 1):
            moved = best.moved(coarser, 1) if finer is None else best.moved(coarser, _TRADED).moved(finer, -1)
            symbols, steps = self._quantised(prepared, moved)
            smaller = _size(symbols)
            if smaller < size:
                evaluated += 1
                if self._keeps_at(prepared, symbols, steps, f"trade {number}"):
                    best, size = moved, smaller
            if evaluated == _TRADES:
                break
        return best

    def _final(self, setting: _Setting) -> AutoCodec | None:
        """The codec of the smallest file found at about this setting that passes as it decodes; None where there is none.

        With transforms for its own steps, which often are better ones, and with those that it was probed with.
        """
        found = filter(None, [self._coarsest(setting, None), self._coarsest(setting, setting.reference)])
        return min(found, key=lambda sized: sized[0], default=(0, None))[1]

    def _coarsest(self, setting: _Setting, reference: float | None) -> tuple[int, AutoCodec] | None:
        """The file at the coarsest of a few steps about the setting's that passes: its bytes, and its codec."""
        for finer in range(_FINAL_PROBES):
            step = setting.step * _FINAL_STEP ** (_COARSER_FIRST - finer)  # the setting's own among them, exactly
            codec = AutoCodec(step, setting.shifts, reference)
            try:
                coded = encode(self.checkpoint, codec)
            except FormatError:
                continue
            size = len(coded.pack())
            if self._keeps(coded.restored, f"{size:,} bytes"):
                return size, codec
        return None

    def _quantised(self, prepared: Prepared, setting: _Setting) -> tuple[Symbols, Steps]:
        steps = choose_steps(self.magnitudes, setting.step, setting.shifts).only(list(self.tensors), prepared.names)
        return prepared.quantise(steps), steps

    def _passes(self, prepared: Prepared, setting: _Setting, share: float = 1.0) -> bool:
        return self._keeps_at(prepared, *self._quantised(prepared, setting), f"step {setting.step:.3g}", share)

    def _keeps_at(self, prepared: Prepared, symbols: Symbols, steps: Steps, what: str, share: float = 1.0) -> bool:
        try:
            restored = prepared.restored(symbols, steps)
        except FormatError:  # steps far finer than those that the transforms were chosen for
            return False
        return self._keeps(self._merged(restored), what, share)

    def _merged(self, restored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All tensors of the checkpoint, those restored in their place and dtype."""
        typed = {name: tensor.to(self.checkpoint.tensors[name].dtype) for name, tensor in restored.items()}
        return {**self.checkpoint.tensors, **typed}

    def _keeps(self, tensors: dict[str, Tensor], what: str, share: float = 1.0) -> bool:
        return self.original - self._value(tensors, what) <= share * self.max_drop

    def _value(self, tensors: dict[str, Tensor], what: str) -> float:
        value = self.evaluate(tensors)
        self.probes += 1
        detail = f"{what}: metric {value:.2f}"
        self.progress(ProgressEvent("searching", self.probes, max(self.expected, self.probes), detail))
        return value


def _size(symbols: Symbols) -> int:
    """Bytes that differ between settings."""
    coded = encode_symbols(symbols)
    return len(coded.model) + len(coded.streams)


def _groups(tensors: Mapping[str, Tensor]) -> list[tuple[str, ...]]:
    """Tensors that are probed together: each large matrix, the other matrices, the vectors."""
    matrices = sorted((name for name, tensor in tensors.items() if tensor.dim() > 1), key=lambda name: -tensors[name].numel())
    vectors = tuple(name for name, tensor in tensors.items() if tensor.dim() <= 1)
    groups = [*((name,) for name in matrices[:_GROUPS]), tuple(matrices[_GROUPS:]), vectors]
    return [group for group in groups if any(tensors[name].numel() for name in group)]
