"""A model's weights as latents that can be trained, and back: differentiable, and exactly as the file restores them.

    weights [tensors] --transform--> latents, flat [n] --/ step, round--> symbols --* step, inverse transform--> weights

Steps are those of symbols: two fine steps of the codec. Only transforms that a file need not hold are used (cosines): a basis
of its own would be a quarter of a file of which the weights take a tenth of a bit each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weightzip.codec.auto import values_in_steps
from weightzip.codec.steps import STEPS_PER_OCTAVE, Steps
from weightzip.codec.trained import TrainedCodec
from weightzip.codec.transform_choice import choose_transforms
from weightzip.codec.transforms import COSINE, Transforms
from weightzip.vae.linear import along

_LEAST = 0.05  # share of its bits that a transform has to save: others only spread out what training makes sparse


@dataclass(frozen=True, eq=False)
class Latents:
    """How some tensors of a model are cut into latents.

    names, shapes: of the tensors. latent_shapes: [a, b, c] of each one's latents. index: [n] which tensor a latent is of.
    bases: per tensor and axis the matrix [size, latents] that undoes its transform, on the device of training.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    transforms: Transforms
    steps: Steps
    index: Tensor
    bases: tuple[tuple[Tensor | None, ...], ...]

    @staticmethod
    def of(tensors: Mapping[str, Tensor], steps: Steps, device: str) -> Latents:
        """For float32 tensors, whose first fine steps are these."""
        shapes = tuple(tuple(tensor.shape) for tensor in tensors.values())
        values = [values_in_steps(tensor.numpy(), step) for tensor, step in zip(tensors.values(), steps.sizes(), strict=True)]
        transforms = choose_transforms(values, shapes, kinds=(COSINE,), least=_LEAST)
        sizes = [math.prod(transforms.latent_shape(number)) for number in range(len(shapes))]
        index = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes, dtype=torch.int64))
        bases = tuple(_bases(transforms, number, device) for number in range(len(shapes)))
        return Latents(tuple(tensors), shapes, transforms, steps, index.to(device), bases)

    @property
    def latent_shapes(self) -> list[tuple[int, int, int]]:
        """Of each tensor's latents."""
        return [self.transforms.latent_shape(number) for number in range(len(self.names))]

    @property
    def sizes(self) -> list[int]:
        """How many latents each tensor has."""
        return [math.prod(shape) for shape in self.latent_shapes]

    def encode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The latents [n] of these tensors, in the weights' own unit."""
        return self.put(torch.empty(sum(self.sizes), device=self.index.device), tensors)

    def put(self, latents: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """Latents [n] with those of some tensors in place of what was there."""
        parts = list(torch.split(latents, self.sizes))
        for number, name in enumerate(self.names):
            if name in tensors:
                values = self.transforms.latents(number, tensors[name].cpu().numpy())
                parts[number] = torch.from_numpy(np.ascontiguousarray(values).reshape(-1)).to(latents.device)
        return torch.cat(parts)

    def decode(self, latents: Tensor) -> dict[str, Tensor]:
        """The tensors that latents [n] stand for; gradients flow through."""
        parts = torch.split(latents, self.sizes)
        return {
            name: _undo(part.view(shape), bases).reshape(whole)
            for name, part, shape, bases, whole in zip(
                self.names, parts, self.latent_shapes, self.bases, self.shapes, strict=True
            )
        }

    def snapped(self, symbol_steps: Tensor) -> Steps:
        """The steps nearest to those of symbols [tensors] that a file can hold."""
        octaves = torch.log2(symbol_steps.detach().double().cpu() / (2 * self.steps.base)) * STEPS_PER_OCTAVE
        return Steps(self.steps.base, tuple(int(code) for code in octaves.round().tolist()))

    def symbol_steps(self, steps: Steps) -> Tensor:
        """The steps of symbols [tensors], float32."""
        return torch.tensor([2 * step for step in steps.sizes()], dtype=torch.float32, device=self.index.device)

    def codec(self, symbols: Tensor, steps: Steps) -> TrainedCodec:
        """The codec of a file that holds these symbols [n]."""
        parts = torch.split(symbols.detach().to("cpu", torch.int32), self.sizes)
        arrays = tuple(part.view(shape).numpy() for part, shape in zip(parts, self.latent_shapes, strict=True))
        return TrainedCodec(self.names, self.transforms, arrays, steps)


def _bases(transforms: Transforms, number: int, device: str) -> tuple[Tensor | None, ...]:
    decoders = [transforms.decoder(number, axis) for axis in range(3)]
    return tuple(None if decoder is None else torch.from_numpy(decoder.real).float().to(device) for decoder in decoders)


def _undo(latents: Tensor, bases: Sequence[Tensor | None]) -> Tensor:
    for axis, basis in enumerate(bases):
        if basis is not None:
            latents = along(basis, latents, axis)
    return latents
