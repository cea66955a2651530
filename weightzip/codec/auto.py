"""The default codec: linear-Gaussian VAEs in closed form, trellis-coded latents, and every byte counted.

    tensor --/ fine step--> values --transform--> latents [a, b, c] --search--> symbols --ANS--> section "symbols"
             |                       |                               scales, tables ------------> section "model"
             section "steps"         section "transforms" (absent where none pays)

Steps are chosen in `weightzip.codec.steps`, transforms in `weightzip.codec.transform_choice`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightzip.codec.steps import DEFAULT_STEP, STEPS_PER_OCTAVE, Magnitudes, Steps, choose_steps
from weightzip.codec.symbols import CodedSymbols, PointStreams, Symbols, encode_symbols, quantise_latents, round_latents
from weightzip.codec.transform_choice import choose_transforms
from weightzip.codec.transforms import Choice, Transforms, decode_transforms, encode_transforms
from weightzip.entropy import decode_integers, encode_integers
from weightzip.entropy.machine import SCALAR, Machine, points, trellis
from weightzip.errors import FormatError
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, ProgressEvent, silent
from weightzip.threads import side_by_side

NUM_STATES = 256  # of the trellis; what others are worth is told in `weightzip.quantise.trellis`
_NEARLY = 0.97
_LARGEST = 2.0**30  # of a latent in steps
_SMALLEST_SINGLE = 1e-30  # of a step that float32 divides by
_NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class AutoCodec:
    """step: the fine step relative to the weights' deviation; shifts: quarter octaves by which tensors depart from it.

    reference: the step, without shifts, for which transforms are chosen; by default the one that they are used with.
    """

    step: float = DEFAULT_STEP
    shifts: Mapping[str, int] = field(default_factory=dict)
    reference: float | None = None
    name: ClassVar[str] = "auto.2"

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Code the tensors; cost grows linearly with the number of weights."""
        return self.settled({name: Magnitudes.of(tensor) for name, tensor in tensors.items()}).encode(tensors, progress)

    def settled(self, tensors: Mapping[str, Magnitudes]) -> SettledCodec:
        """The codec for any part of these tensors, which they need not all be at hand for."""
        steps = choose_steps(tensors, self.step, self.shifts)
        reference = steps if self.reference is None else choose_steps(tensors, self.reference, {})
        return SettledCodec(tuple(tensors), steps, reference)

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec], wanted: Collection[str] | None = None) -> dict[str, Tensor]:
        """The tensors: exact integers times a step, one rounding each, hence the same on every machine.

        wanted: at least the tensors of these names; by default all.
        """
        unpacked = Unpacked.of(payload, specs)
        return unpacked.tensors(specs, unpacked.restore, wanted)


@dataclass(frozen=True, eq=False)
class Unpacked:
    """A payload taken apart. steps: the fine step of every tensor."""

    steps: Sequence[float]
    transforms: Transforms
    streams: PointStreams

    @staticmethod
    def of(payload: Payload, specs: Sequence[TensorSpec]) -> Unpacked:
        """Raises FormatError where the payload does not fit the specs."""
        base = payload.meta.get("step")
        if set(payload.meta) != {"step", "states"} or not isinstance(base, float) or not 0 < base < math.inf:
            raise FormatError("the auto codec's header must hold exactly a positive step size and a number of states")
        sections = {"transforms": b"", **payload.sections}
        if sorted(sections) != ["model", "steps", "symbols", "transforms"]:
            raise FormatError("the auto codec needs exactly the sections steps, model, symbols and perhaps transforms")
        steps = Steps(base, tuple(decode_integers(sections["steps"], len(specs)))).sizes()
        transforms = decode_transforms(sections["transforms"], [spec.shape for spec in specs])
        shapes = [transforms.latent_shape(index) for index in range(len(specs))]
        coded = CodedSymbols(sections["model"], sections["symbols"])
        return Unpacked(steps, transforms, PointStreams(coded, shapes, _machine(payload.meta["states"])))

    def restore(self, index: int, points: NDArray[np.int32]) -> NDArray[np.float32]:
        """What the points of a tensor stand for."""
        return self.transforms.restore(index, points, self.steps[index])

    def tensors(
        self,
        specs: Sequence[TensorSpec],
        make: Callable[[int, NDArray[np.int32]], NDArray[np.float32]],
        wanted: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """What `make` makes of each tensor's number and points; of `wanted` names, at least those."""

        def made(group: range) -> dict[str, Tensor]:
            return {
                specs[index].name: torch.from_numpy(make(index, points)).reshape(specs[index].shape)
                for index, points in zip(group, self.streams.decode(group), strict=True)
            }

        groups = [
            group for group in self.streams.groups if wanted is None or any(specs[index].name in wanted for index in group)
        ]
        sizes = [sum(specs[index].num_elements for index in group) for group in groups]
        return {name: tensor for tensors in side_by_side(made, groups, sizes) for name, tensor in tensors.items()}


@dataclass(frozen=True)
class SettledCodec:
    """`AutoCodec` with the step of every tensor settled, so that tensors can be coded part by part.

    names: all tensors that steps and reference tell the steps of.
    """

    names: tuple[str, ...]
    steps: Steps
    reference: Steps
    name: ClassVar[str] = AutoCodec.name

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Code some of the tensors, or all; cost grows linearly with the number of weights."""
        positions = [self._positions[name] for name in tensors]
        steps, reference = (all_steps.at(positions) for all_steps in (self.steps, self.reference))
        progress(ProgressEvent("coding", 0, 3, "fitting transforms"))
        prepared = Prepared.of(tensors, reference)
        progress(ProgressEvent("coding", 1, 3, "quantising"))
        symbols, transforms = prepared.quantise(steps), prepared.transforms
        del prepared  # with its latents: symbols are all that is needed from here on
        progress(ProgressEvent("coding", 2, 3, "entropy coding"))
        payload = payload_of(encode_symbols(symbols), transforms, steps, symbols.machine)
        progress(ProgressEvent("coding", 3, 3))
        return payload

    @cached_property
    def _positions(self) -> dict[str, int]:
        """Of each name; made once, so that a part takes no time for names that are not its own."""
        return {name: position for position, name in enumerate(self.names)}

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """As AutoCodec's."""
        return AutoCodec.decode(payload, specs)


@dataclass(frozen=True)
class BoundedCodec:
    """The same format, with every value of a tensor within `max_errors[name]` of its source, but for float32's rounding."""

    max_errors: Mapping[str, float]
    name: ClassVar[str] = AutoCodec.name

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Code the tensors by plain rounding; cost grows linearly with the number of weights."""
        steps = self._steps(tensors)
        progress(ProgressEvent("coding", 0, 1, "quantising"))
        transforms = _identity([tuple(tensor.shape) for tensor in tensors.values()])
        with np.errstate(over="ignore"):
            latents = [
                transforms.latents(index, tensor.numpy().astype(np.float64) / (2.0 * step))
                for index, (tensor, step) in enumerate(zip(tensors.values(), steps.sizes(), strict=True))
            ]
        payload = payload_of(encode_symbols(round_latents(latents)), transforms, steps, SCALAR)
        progress(ProgressEvent("coding", 1, 1))
        return payload

    def settled(self, tensors: Mapping[str, object]) -> BoundedCodec:
        """The codec for any part of these tensors."""
        return replace(self, max_errors={name: self.max_errors[name] for name in tensors})

    def _steps(self, names: Iterable[str]) -> Steps:
        """Steps for some of the tensors, on the base that all of them share."""
        octaves = (math.log2(_finite(self.max_errors[name]) / self._base) for name in names)
        return Steps(self._base, tuple(min(0, math.floor(STEPS_PER_OCTAVE * each)) for each in octaves))

    @cached_property
    def _base(self) -> float:
        """About the largest error of all; found once, so that a part takes no time for tensors that are not its own."""
        bounds = [_finite(bound) for bound in self.max_errors.values()]
        # Errors that are all but equal share one step, so that none of them loses up to a quarter octave.
        least = _NEARLY * max(bounds, default=1.0)
        return min((bound for bound in bounds if bound >= least), default=1.0)

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """As AutoCodec's."""
        return AutoCodec.decode(payload, specs)


@dataclass(frozen=True)
class Prepared:
    """What all encodings of the same tensors share: transforms, and latents [a, b, c] in units of the reference steps."""

    names: tuple[str, ...]
    transforms: Transforms
    latents: tuple[NDArray[np.float32], ...]
    reference: Steps

    @staticmethod
    def of(tensors: Mapping[str, Tensor], reference: Steps) -> Prepared:
        """Transforms that pay at these steps, and the latents that they give."""
        values = [
            values_in_steps(tensor.numpy(), step) for tensor, step in zip(tensors.values(), reference.sizes(), strict=True)
        ]
        sizes = [array.size for array in values]
        transforms = choose_transforms(values, [tuple(tensor.shape) for tensor in tensors.values()])

        def latents(index: int) -> NDArray[np.float32]:
            found = transforms.latents(index, values[index])
            values[index] = _NOTHING  # let go as soon as there are latents, which halves the memory
            return found

        return Prepared(tuple(tensors), transforms, tuple(side_by_side(latents, range(len(values)), sizes)), reference)

    def only(self, names: Sequence[str]) -> Prepared:
        """The same for some of the tensors."""
        wanted = frozenset(names)
        chosen = [index for index, name in enumerate(self.names) if name in wanted]
        kept = tuple(self.names[index] for index in chosen)
        latents = tuple(self.latents[index] for index in chosen)
        return Prepared(kept, self.transforms.only(chosen), latents, self.reference.at(chosen))

    def quantise(self, steps: Steps) -> Symbols:
        """The symbols at these steps."""
        ratios = [step / before for step, before in zip(steps.sizes(), self.reference.sizes(), strict=True)]
        latents = [
            array if ratio == 1 else values_in_steps(array, ratio) for array, ratio in zip(self.latents, ratios, strict=True)
        ]
        return quantise_latents(latents, num_states=NUM_STATES)

    def restored(self, symbols: Symbols, steps: Steps) -> dict[str, Tensor]:
        """What the symbols decode to."""
        values = points(symbols.symbols, symbols.quantisers)
        ends = np.cumsum([latents.size for latents in self.latents])[:-1]
        return {
            name: torch.from_numpy(self.transforms.restore(index, part.reshape(self.latents[index].shape), step))
            for index, (name, part, step) in enumerate(zip(self.names, np.split(values, ends), steps.sizes(), strict=True))
        }


def payload_of(coded: CodedSymbols, transforms: Transforms, steps: Steps, machine: Machine) -> Payload:
    """The sections and the header's part of a file of this codec."""
    learned = encode_transforms(transforms)
    sections = {"steps": encode_integers(steps.codes), **({"transforms": learned} if learned else {})}
    sections |= {"model": coded.model, "symbols": coded.streams}
    return Payload(sections, {"step": steps.base, "states": machine.num_states})


def _finite(bound: float) -> float:
    return min(float(bound), sys.float_info.max)


def _identity(shapes: Sequence[tuple[int, ...]]) -> Transforms:
    return Transforms(tuple(shapes), (Choice(),) * len(shapes), ())


def _machine(num_states: object) -> Machine:
    if type(num_states) is int and num_states == SCALAR.num_states:
        return SCALAR
    if type(num_states) is not int or num_states != NUM_STATES:
        raise FormatError(f"the auto codec's machine must have 1 or {NUM_STATES} states")
    return trellis(NUM_STATES)


def values_in_steps(values: NDArray[np.float32], step: float) -> NDArray[np.float32]:
    """Values in units of a step; what no symbol can reach is cut off, and comes back with a large error."""
    # Steps beyond float32's range ask for more; whatever numpy's version makes of a float32 and a number.
    numbers = np.float32 if _SMALLEST_SINGLE < step < 1 / _SMALLEST_SINGLE else np.float64
    scaled = np.empty(values.shape, numbers)
    with np.errstate(over="ignore"):
        np.divide(values, numbers(step), out=scaled, dtype=numbers)
    clipped: NDArray[np.float32] = np.clip(scaled, -_LARGEST, _LARGEST, out=scaled).astype(np.float32, copy=False)
    return clipped
