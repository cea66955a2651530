"""From a trained VAE to the integers of a file of the paper's codec.

    posterior means --trellis--> latents --shorten--> first layer --trellis--> hidden units --descent--> second layer

Each arrow starts from what the ones before have really stored, so that later layers make good what earlier ones lost. How fine
latents and first layer are is chosen by the bits of them and of the output layer that they make necessary together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightzip.codec.symbols import Symbols, encode_symbols, quantise_latents
from weightzip.entropy.machine import Machine, points, trellis
from weightzip.quantise.descent import quantise_layer
from weightzip.vae import (
    INVERSE_SLOPE,
    Blocks,
    Family,
    IntegerDecoder,
    hidden_levels,
    hidden_units,
    least_squares,
    left_over,
    output_bits,
    shorten,
)

MACHINE: Machine = trellis(256)
_STEPS_PER_LATENT = 4  # fine steps in the latents' root mean square, where the search for their step starts
_FIRST_OCTAVE = -2  # where that for the first layer's begins: noise of a seventh of the hidden units' level
_MOST_OCTAVES = 24
_LEFT_OVER = 0.5  # the share of the error that may be beyond what the second layer can make good
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Trained:
    """A trained network as it is to be stored, in double precision.

    latents: [n, latent], posterior means. deviation: [latent], root mean square of their posteriors' deviations. first:
    [hidden, latent + 1], bias last. outputs: [n, chunk]. narrow: [n, hidden + 1], with the inner products of the outputs.
    """

    latents: Tensor
    deviation: Tensor
    first: Tensor
    outputs: Tensor
    narrow: Tensor

    @staticmethod
    @torch.no_grad()
    def of(model: Family, blocks: Tensor) -> Trained:
        """Finish the training of the output layer in closed form, on the posterior means of the blocks [n, chunk]."""
        alike = Blocks.alike(blocks)
        posterior = model.posterior(alike.batch(alike.lanes(1)))
        deviation = posterior.deviation.double().square().mean(dim=0).sqrt()
        weights, bias, _, _ = (parameter.double() for parameter in model.decoder.parameters())
        first = torch.column_stack([weights, bias])
        latents = posterior.mean.double()
        hidden = hidden_units(_with_ones(latents), first)
        second = least_squares(hidden, blocks.double())  # [hidden + 1, chunk]
        narrow = hidden @ torch.linalg.qr(second.T).R.T
        return Trained(latents, deviation, first, hidden @ second, narrow)


@dataclass(frozen=True)
class Stored:
    """What goes into the file; unit: what one unit of the integer decoder's output is worth.

    latents: [n, 1, latent]; first: [latent + 1, 1, hidden]; second: [hidden + 1, 1, chunk]; the last ones are the biases.
    """

    latents: Symbols
    first: Symbols
    second: Symbols
    mean_shift: int
    unit: float


def store(trained: Trained, stored_error: float) -> Stored:
    """Quantise latents and decoder so that its outputs move by at most `stored_error` (mean square, of unit variance)."""
    latents, inputs, first = _store_latents(trained, stored_error)
    first_coded, step = _store_first(trained, inputs, first, stored_error)
    return _with_second(latents, first_coded, step / INVERSE_SLOPE, trained.outputs, stored_error)


def _store_latents(trained: Trained, stored_error: float) -> tuple[Symbols, Tensor, Tensor]:
    """The latents; as inputs of the first layer [n, latent + 1], in steps; and the first layer that suits them."""
    size = trained.outputs.shape[1]

    def at(octave: int) -> tuple[float, tuple[Symbols, Tensor, Tensor]]:
        steps = 2.0**octave * trained.deviation
        coded = _quantise((trained.latents / steps)[:, None, :])
        inputs = _with_ones(array_points(coded)[:, 0, :])
        first = trained.first * torch.cat([steps, torch.ones_like(steps[:1])])
        first = shorten(inputs, first, trained.narrow, size, stored_error)
        return _bits(trained, stored_error, coded, inputs, first), (coded, inputs, first)

    level = float((trained.latents / trained.deviation).square().mean().sqrt())
    return _cheapest(at, math.floor(math.log2(level / _STEPS_PER_LATENT)) if level > 0 else 0)


def _store_first(trained: Trained, inputs: Tensor, first: Tensor, stored_error: float) -> tuple[Symbols, float]:
    """The first layer [hidden, latent + 1], scaled so that one step suits all hidden units, and that step."""
    first = first / hidden_levels(inputs, first)[1][:, None]
    input_level = float(inputs.square().sum(dim=1).mean().sqrt())

    def at(octave: int) -> tuple[float, tuple[Symbols, float]]:
        step = 2.0**octave / input_level
        coded = _quantise((first / step).T[:, None, :])
        return _bits(trained, stored_error, coded, inputs, array_points(coded)[:, 0, :].T), (coded, step)

    return _cheapest(at, _FIRST_OCTAVE)


def _bits(trained: Trained, stored_error: float, coded: Symbols, inputs: Tensor, first: Tensor) -> float:
    """Bits of `coded` and of the second layer that becomes necessary; infinite where it could not meet the error."""
    size = trained.outputs.shape[1]
    units = hidden_units(inputs, first)
    if not float(left_over(units, trained.narrow)) < _LEFT_OVER * stored_error * size:
        return math.inf
    return 8 * num_bytes(coded) + size * float(output_bits(units, trained.narrow, size, stored_error))


def _with_second(latents: Symbols, first: Symbols, hidden_unit: float, outputs: Tensor, stored_error: float) -> Stored:
    """Fit the second layer to the very integers that the decoder will have; hidden_unit: what theirs are worth."""
    mean_shift = max(0, round(-math.log2(hidden_unit)))  # its input is about 1, as the hidden units are
    hidden = integer_decoder(array_integers(first), None, 0).hidden(array_integers(latents)[:, 0, :]) * hidden_unit
    inputs = np.column_stack([hidden, np.full(len(hidden), math.ldexp(hidden_unit, mean_shift))])
    layer = quantise_layer(inputs, outputs.numpy(), MACHINE, stored_error)
    second = Symbols(layer.symbols.reshape(-1), layer.quantisers.reshape(-1), (layer.scales,), MACHINE)
    return Stored(latents, first, second, mean_shift, hidden_unit * layer.step)


def integer_decoder(first: NDArray[np.int32], second: NDArray[np.int32] | None, mean_shift: int) -> IntegerDecoder:
    """The decoder of integers [latent + 1, 1, hidden] and [hidden + 1, 1, chunk] (None: of no outputs)."""
    if second is None:
        second = np.zeros((first.shape[2] + 1, 1, 0), np.int32)
    return IntegerDecoder(first[:-1, 0].T, first[-1, 0][:, None], second[:-1, 0].T, second[-1, 0][:, None], mean_shift)


def array_integers(coded: Symbols) -> NDArray[np.int32]:
    """The points of the one array of `coded`."""
    return points(coded.symbols, coded.quantisers).reshape(coded.scales[0].shape)


def array_points(coded: Symbols) -> Tensor:
    """The points of the one array of `coded`, in double precision."""
    return torch.from_numpy(array_integers(coded).astype(np.float64))


def num_bytes(coded: Symbols) -> int:
    """Bytes that the symbols take by themselves."""
    data = encode_symbols(coded)
    return len(data.model) + len(data.streams)


def _quantise(array: Tensor) -> Symbols:
    return quantise_latents([np.ascontiguousarray(array.numpy(), np.float32)], num_states=MACHINE.num_states)


def _with_ones(latents: Tensor) -> Tensor:
    return torch.cat([latents, torch.ones_like(latents[:, :1])], dim=1)


def _cheapest(cost: Callable[[int], tuple[float, _Result]], start: int) -> _Result:
    """The result of lowest cost: upwards from `start` one by one as long as the cost falls; if it never does, downwards.

    Where the cost is infinite at first, from the first place below where it is not.
    """
    lowest, best = cost(start)
    for _ in range(_MOST_OCTAVES):
        if lowest < math.inf:
            break
        start -= 1
        lowest, best = cost(start)
    for direction in (1, -1):
        improved = False
        for distance in range(1, _MOST_OCTAVES):
            bits, result = cost(start + direction * distance)
            if not bits < lowest:
                break
            lowest, best, improved = bits, result, True
        if improved:
            break
    return best
