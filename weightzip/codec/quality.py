"""The smallest file whose model still does its task: probes of a common step, of what each tensor alone can bear, and of both.

    original --evaluate--> metric to keep
    one step for all    --bisect-->  the coarsest that keeps it                                  (a first file)
    each group alone    --bisect-->  what it bears --balance--> steps in proportion --bisect-->  (a second file)

Between probes, transforms and latents are kept; only quantisation is done anew. The file itself is encoded with all that its
own steps ask for, and evaluated as it decodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from weightzip.checkpoint import Checkpoint
from weightzip.codec.auto import AutoCodec, Prepared
from weightzip.codec.lossless import LosslessCodec
from weightzip.codec.pipeline import Coded, encode, lossy_names
from weightzip.codec.steps import STEPS_PER_OCTAVE, choose_steps
from weightzip.progress import Progress, ProgressEvent
from weightzip.search import balanced, bisect_log, tolerances

Evaluate = Callable[[dict[str, Tensor]], float]
_FINEST, _COARSEST, _REFERENCE = 2.0**-13, 2.0**3, 0.5  # fine steps, relative to the weights' deviation
_COMMON_PROBES, _GROUP_PROBES, _BALANCED_PROBES = 10, 5, 7
_GROUPS = 12  # matrices that are probed by themselves, the largest ones
_SHARE = 0.5  # of the drop, which a group alone may take while its tolerance is sought
_WITHIN = 4.0  # a group's tolerance is sought within this factor of the common step, and four times as far upwards
_POLISHING_ROUNDS = 2
_FINAL_PROBES, _COARSER_FIRST, _FINAL_STEP = 8, 1.06, 1.02  # what bisection found need not be the coarsest that passes


def meet_drop(checkpoint: Checkpoint, max_drop: float, evaluate: Evaluate, progress: Progress) -> Coded:
    """The smallest file found that loses at most `max_drop` of the metric; exact storage where no other does."""
    return _Search(checkpoint, max_drop, evaluate, progress).smallest()


@dataclass
class _Search:
    checkpoint: Checkpoint
    max_drop: float
    evaluate: Evaluate
    progress: Progress
    probes: int = field(default=0, init=False)
    expected: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        names = lossy_names(self.checkpoint)
        self.tensors = {name: tensor.float() for name, tensor in self.checkpoint.tensors.items() if name in names}
        self.groups = _groups(self.tensors)
        by_group = (_GROUP_PROBES + _POLISHING_ROUNDS) * len(self.groups)
        self.expected = 1 + _COMMON_PROBES + by_group + _BALANCED_PROBES + 2 * _FINAL_PROBES
        self.original = self._value(dict(self.checkpoint.tensors), "the original")

    def smallest(self) -> Coded:
        """See `meet_drop`."""
        if not any(tensor.numel() for tensor in self.tensors.values()):
            return encode(self.checkpoint, LosslessCodec())
        prepared = Prepared.of(self.tensors, choose_steps(self.tensors, _REFERENCE, {}))
        common = bisect_log(lambda step: self._passes(prepared, step, {}), safe=_FINEST, bold=_COARSEST, probes=_COMMON_PROBES)
        if common is None:
            return encode(self.checkpoint, LosslessCodec())
        found = [self._final(common, {})]
        if len(self.groups) > 1:
            found.append(self._balanced(prepared, common))
        files = [coded for coded in found if coded is not None]
        return min(files, key=lambda coded: len(coded.pack())) if files else encode(self.checkpoint, LosslessCodec())

    def _balanced(self, prepared: Prepared, common: float) -> Coded | None:
        """The file with a step for each group by what it alone can bear."""
        alone = [prepared.only(group) for group in self.groups]
        tolerated = tolerances(
            lambda group, step: self._passes(alone[group], step, {}, share=_SHARE),
            len(self.groups),
            finest=common / _WITHIN,
            coarsest=common * _WITHIN**2,
            probes=_GROUP_PROBES,
        )
        sizes = [sum(self.tensors[name].numel() for name in group) for group in self.groups]
        wanted = [math.log2(step / common) for step in balanced(tolerated, sizes)]
        shifts = {
            name: round(STEPS_PER_OCTAVE * octaves)
            for group, octaves in zip(self.groups, wanted, strict=True)
            for name in group
        }
        step = bisect_log(
            lambda step: self._passes(prepared, step, shifts),
            safe=common / _WITHIN,
            bold=common * _WITHIN,
            probes=_BALANCED_PROBES,
        )
        if step is None:
            return None
        return self._final(step, self._polished(prepared, step, shifts))

    def _polished(self, prepared: Prepared, step: float, shifts: dict[str, int]) -> dict[str, int]:
        """Shifts with each group's made coarser as long as the metric is kept, the largest group first."""
        for _ in range(_POLISHING_ROUNDS):
            for group in self.groups:
                moved = shifts | {name: shifts[name] + 1 for name in group}
                if self._passes(prepared, step, moved):
                    shifts = moved
        return shifts

    def _final(self, step: float, shifts: Mapping[str, int]) -> Coded | None:
        """The file at about this step, the coarsest of a few that passes as it decodes; None where none of them does."""
        for finer in range(_FINAL_PROBES):
            coded = encode(self.checkpoint, AutoCodec(step * _COARSER_FIRST / _FINAL_STEP**finer, shifts))
            if self._keeps(coded.restored, f"{len(coded.pack()):,} bytes"):
                return coded
        return None

    def _passes(self, prepared: Prepared, step: float, shifts: Mapping[str, int], share: float = 1.0) -> bool:
        steps = choose_steps(self.tensors, step, shifts).only(list(self.tensors), prepared.names)
        restored = prepared.restored(prepared.quantise(steps), steps)
        merged = dict(self.checkpoint.tensors)
        merged |= {name: tensor.to(self.checkpoint.tensors[name].dtype) for name, tensor in restored.items()}
        return self._keeps(merged, f"step {step:.3g}", share)

    def _keeps(self, tensors: dict[str, Tensor], what: str, share: float = 1.0) -> bool:
        return self.original - self._value(tensors, what) <= share * self.max_drop

    def _value(self, tensors: dict[str, Tensor], what: str) -> float:
        value = self.evaluate(tensors)
        self.probes += 1
        detail = f"{what}: metric {value:.2f}"
        self.progress(ProgressEvent("searching", self.probes, max(self.expected, self.probes), detail))
        return value


def _groups(tensors: Mapping[str, Tensor]) -> list[tuple[str, ...]]:
    """Tensors that are probed together: each large matrix, the other matrices, the vectors."""
    matrices = sorted((name for name, tensor in tensors.items() if tensor.dim() > 1), key=lambda name: -tensors[name].numel())
    vectors = tuple(name for name, tensor in tensors.items() if tensor.dim() <= 1)
    groups = [*((name,) for name in matrices[:_GROUPS]), tuple(matrices[_GROUPS:]), vectors]
    return [group for group in groups if any(tensors[name].numel() for name in group)]
