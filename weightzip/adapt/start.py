"""The model that an adaptation begins with: quantised layer by layer, with biases and statistics that go with it.

    tensors --error feedback, with the rate--> latents --what mean outputs are off by--> biases --> batch norms' statistics

By itself this is calibration without gradients: at equal bits it keeps outputs three to seven times closer than rounding does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from weightzip.adapt.latents import Latents
from weightzip.adapt.layerwise import quantised_layers
from weightzip.adapt.moments import Moments, input_moments
from weightzip.adapt.network import Network
from weightzip.adapt.norms import measured_statistics, names_of_statistics
from weightzip.codec.steps import Magnitudes, Steps, choose_steps
from weightzip.tasks import Batch

_COARSER, _FINER = 8, -4  # quarter octaves: statistics, whose error gains and biases make good; what else is not trained
REFERENCE = 0.5  # of the weights' deviation: the fine step that training begins with


@dataclass(frozen=True, eq=False)
class Beginning:
    """A checkpoint's weights, and what its layers see; tensors: float32; moments: see `input_moments`."""

    network: Network
    tensors: Mapping[str, Tensor]
    inputs: Sequence[Batch]
    source: str
    moments: Mapping[str, Moments]

    @staticmethod
    def of(network: Network, tensors: Mapping[str, Tensor], inputs: Sequence[Batch], source: str) -> Beginning:
        """inputs: batches to measure with; source: the task's method that gave them."""
        return Beginning(network, tensors, inputs, source, input_moments(network, inputs, source))

    def at(self, step: float) -> tuple[Latents, Tensor, Steps]:
        """Latents, their values [n], and their fine steps, the common one being `step` deviations of the weights."""
        statistics = names_of_statistics(self.network)
        kept = [name for name in self.tensors if name not in self.network.trained]
        shifts = {name: _COARSER if name in statistics else _FINER for name in kept}
        steps = choose_steps({name: Magnitudes.of(tensor) for name, tensor in self.tensors.items()}, step, shifts)
        latents = Latents.of(self.tensors, steps, self.network.device)
        sizes = latents.symbol_steps(steps)[latents.index]
        values = quantised_layers(latents, latents.encode(self.tensors), sizes, self.moments)
        weights = latents.decode((values / sizes).round() * sizes)
        biases = self._corrected_biases(weights)
        weights |= {name: bias.to(self.network.device) for name, bias in biases.items()}
        measured = measured_statistics(self.network, weights, self.inputs, self.source) if statistics else {}
        return latents, latents.put(values, biases | {name: measured[name] for name in measured if name in weights}), steps

    def _corrected_biases(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Biases that give back what quantised weights take from the mean of each output."""
        corrected: dict[str, Tensor] = {}
        for key, place in self.network.places.items():
            head, _, last = key.rpartition(".")
            bias = self.network.places.get(f"{head}.{last.replace('weight', 'bias')}".removeprefix("."))
            moments = self.moments.get(place.base)
            if "weight" not in last or bias is None or moments is None or moments.total.dim() < 2:
                continue
            if bias.base not in weights or place.base not in weights:
                continue  # which are kept as they are
            if place.view.window is not None:
                continue  # a part of something else
            off = self.tensors[place.base].double() - weights[place.base].double().cpu()
            shift = off.reshape(len(off), -1) @ moments.mean.cpu()
            if shift.shape == self.tensors[bias.base].shape:
                corrected[bias.base] = (self.tensors[bias.base].double() + shift).float()
        return corrected
