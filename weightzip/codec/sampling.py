"""Weights drawn from the posterior that a file's latents stand for.

A code says of each latent in which cell it lies, and nothing more. Its posterior is uniform over that cell, and the ELBO with
that posterior is the file's size (Balle, Laparra & Simoncelli 2017, section 3). A draw is what the decoder makes of latents
with noise from their cells:

    latents q --+ temperature * uniform noise--> finer integers --the exact decoder, in finer units--> weights

The points of a quantiser are two fine steps apart, and so wide are its cells. But a latent whose scale says that it hardly
departs from zero does not fill its cell: its noise has the latent's own variance, as in reverse water-filling.

A further codec that can be sampled needs a function here, and a line in _SAMPLERS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightzip.blocks import Chunks, paste
from weightzip.checkpoint import dtype_of
from weightzip.codec.auto import AutoCodec, Unpacked
from weightzip.codec.family import FamilyCodec
from weightzip.codec.family_decode import stored_steps
from weightzip.codec.header import Header, Part
from weightzip.codec.paper import PaperCodec, unpack
from weightzip.codec.paper_header import PaperHeader
from weightzip.entropy.magnitudes import MAX_CLASSES
from weightzip.errors import FormatError, UsageError
from weightzip.interface import Payload, TensorSpec
from weightzip.quantise.axes import CLASS_OF_ONE_STEP, CLASSES_PER_OCTAVE, AxisScales

Sampler = Callable[[Payload, Sequence[TensorSpec], float, np.random.Generator], dict[str, Tensor]]
MAX_TEMPERATURE = 1000.0
_CELL = 2.0  # width in fine steps
_FINER = 64  # noise of the default codec is drawn in units of a step by this, so that float32 decodes it exactly
_FINER_BITS = 12  # of the paper's, whose decoder works in float64
_BLOCK = 1 << 18  # latents whose noise is drawn at a time, which bounds memory


def check_samplable(header: Header) -> None:
    """Raise UsageError where a file says nothing of what its tensors might have been."""
    if not header.lossy_parts:
        raise UsageError("all its tensors are exact, so there is nothing to draw; compress the checkpoint without --lossless")
    if header.codec not in _SAMPLERS:
        presets = " or ".join(dict.fromkeys(name.split(".")[0] for name in _SAMPLERS))
        raise UsageError(f"the codec {header.codec!r} has no posterior to draw from; compress with the preset {presets}")


def sample_part(
    header: Header, part: Part, sections: Mapping[str, bytes], temperature: float, generator: np.random.Generator
) -> dict[str, Tensor]:
    """The tensors of a lossy part, drawn, in their own dtypes.

    sections: by kind. temperature: what the noise is multiplied by, 1 for noise that fills the cells; up to MAX_TEMPERATURE.
    generator: of this draw and part alone. Raises FormatError as decoding does.
    """
    payload = Payload(dict(sections), dict(header.meta))
    drawn = _SAMPLERS[header.codec](payload, part.specs, temperature, generator)
    return {spec.name: _rounded(drawn.pop(spec.name), dtype_of(spec.dtype)) for spec in part.specs}


def _sample_auto(
    payload: Payload, specs: Sequence[TensorSpec], temperature: float, generator: np.random.Generator
) -> dict[str, Tensor]:
    """The decoder is linear, so a draw is what is restored and, times the temperature, what noise alone decodes to."""
    unpacked = Unpacked.of(payload, specs)
    generators = generator.spawn(len(specs))  # one for each tensor, whichever thread comes to it first

    def drawn(index: int, points: NDArray[np.int32]) -> NDArray[np.float32]:
        restored = unpacked.restore(index, points)
        noise = _noise(unpacked.streams.scales[index], generators[index])
        moved = unpacked.transforms.restore(index, noise, unpacked.steps[index] / _FINER)
        with np.errstate(over="ignore", invalid="ignore"):  # at the end of float32
            moved *= np.float32(temperature)
            restored += moved
        return restored

    return unpacked.tensors(specs, drawn)


def _noise(scales: AxisScales, generator: np.random.Generator) -> NDArray[np.int32]:
    """Noise for the latents [a, b, c] of one tensor, in units of a fine step by _FINER."""
    classes, widths = scales.classes(), _widths()
    noise = np.empty(classes.size, np.int32)
    for start in range(0, classes.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        uniform = generator.random(classes[part].size, np.float32)
        uniform -= np.float32(0.5)
        uniform *= widths[classes[part]]
        noise[part] = np.rint(uniform, out=uniform)
    return noise.reshape(scales.shape)


@lru_cache
def _widths() -> NDArray[np.float32]:
    """Of the noise of latents of each class, in units of a fine step by _FINER."""
    deviations = 2.0 ** ((np.arange(MAX_CLASSES) - CLASS_OF_ONE_STEP) / CLASSES_PER_OCTAVE)
    # Uniform noise of this width has a variance of width^2 / 12.
    widths: NDArray[np.float32] = (_FINER * np.minimum(np.sqrt(12.0) * deviations, _CELL)).astype(np.float32)
    return widths


def _sample_paper(
    payload: Payload, specs: Sequence[TensorSpec], temperature: float, generator: np.random.Generator
) -> dict[str, Tensor]:
    """What the network makes of latents with noise; its own weights are not drawn.

    The leaky ReLU keeps positive factors, so latents in finer units, with biases in finer units, give the same outputs in finer
    units: the integer decoder is exact for them as well, and what it gives does not depend on threads.
    """
    header = PaperHeader.parse(payload.meta)
    latents, decoder = unpack(payload, header, header.num_chunks(sum(spec.num_elements for spec in specs)))
    unit = 1 << _FINER_BITS
    noise = temperature * _CELL * (generator.random(latents.shape) - 0.5)  # [n, latent]
    finer = np.rint((latents + noise) * unit)
    if not np.abs(finer).max(initial=0) < 2.0**31:
        raise FormatError("the latents are too large to draw from")
    # The first layer's bias is one more weight, of a latent that is always 1.
    inputs = np.column_stack([finer.astype(np.int32), np.full(len(finer), unit, np.int32)])  # [n, latent + 1]
    first, bias = np.column_stack([decoder.first, decoder.bias]), np.zeros_like(decoder.bias)
    network = replace(decoder, first=first, bias=bias, mean_shift=decoder.mean_shift + _FINER_BITS)
    values = network.decode(inputs, scale=header.unit / unit, offset=header.offset)
    return paste(Chunks(torch.from_numpy(values), header.padding), specs)


def _sample_family(
    payload: Payload, specs: Sequence[TensorSpec], temperature: float, generator: np.random.Generator
) -> dict[str, Tensor]:
    """Every weight from the cell of its residual: what is predicted is exact, and all that is left open is what it leaves."""
    drawn = FamilyCodec.decode(payload, specs)
    sizes = stored_steps(payload, specs).sizes()
    for spec, step in zip(specs, sizes, strict=True):
        noise = generator.random(spec.shape, np.float32) - np.float32(0.5)
        drawn[spec.name] += torch.from_numpy(np.asarray(noise)) * (temperature * _CELL * step)
    return drawn


def _rounded(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """In this dtype, and finite: what lies at its end might otherwise be drawn beyond it."""
    most = min(torch.finfo(dtype).max, torch.finfo(tensor.dtype).max)
    return tensor.clamp_(-most, most).to(dtype)


_SAMPLERS: dict[str, Sampler] = {
    AutoCodec.name: _sample_auto,
    PaperCodec.name: _sample_paper,
    FamilyCodec.name: _sample_family,
}
