"""What symbols cost, by the codec's own scales and tables, and what it would save to move them towards zero.

The prior of the latents is the one that the file stores: scales along the axes of each tensor, and a table of magnitudes for
each class. Fitting it to the symbols of the moment and moving the symbols at its prices, in turn, is how code length is
trained. Between two symbols the code length is interpolated, as it is in the mean over uniform noise (Balle et al. 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weightzip.entropy.magnitudes import MAX_CLASSES, MagnitudeTables
from weightzip.entropy.streams import count_symbols
from weightzip.quantise.axes import fit_axis_scales
from weightzip.quantise.trellis import NUM_PRICES

_STEEPEST = 20.0  # bits between two magnitudes; tables know nothing of magnitudes that did not occur


@dataclass(frozen=True, eq=False)
class Rate:
    """slopes: bits from each magnitude to the next, [classes * (NUM_PRICES - 1)]; places: [n] where a latent's class begins.

    bits: of the symbols to which it was fitted, without the tables and scales themselves.
    """

    slopes: Tensor
    places: Tensor
    bits: float

    @staticmethod
    def fit(symbols: Tensor, shapes: list[tuple[int, int, int]]) -> Rate:
        """For symbols [n], those of arrays of these shapes one after the other."""
        flat = symbols.detach().to("cpu", torch.int32)
        parts = torch.split(flat, [first * second * third for first, second, third in shapes])
        scales = [fit_axis_scales(2 * part.view(shape).float().numpy()) for part, shape in zip(parts, shapes, strict=True)]
        classes = np.concatenate([scale.classes() for scale in scales])
        numbers = flat.numpy()
        counts = count_symbols(numbers, classes, np.zeros(numbers.size, np.uint8), MAX_CLASSES)
        prices = MagnitudeTables.fit(counts, (0,)).bits(MAX_CLASSES, NUM_PRICES)[:, 0]  # [classes, NUM_PRICES]
        bits = prices[classes, np.minimum(np.abs(numbers), NUM_PRICES - 1)].sum(dtype=np.float64)
        slopes = torch.from_numpy(np.diff(prices, axis=1)).clamp(-1.0, _STEEPEST).reshape(-1)
        places = torch.from_numpy(classes.astype(np.int32) * (NUM_PRICES - 1))
        return Rate(slopes.to(symbols.device), places.to(symbols.device), float(bits))

    def slope(self, magnitudes: Tensor) -> Tensor:
        """Bits per unit of magnitude [n], real numbers of symbols: what the next smaller symbol saves."""
        return self.slopes.index_select(0, self.places + magnitudes.clamp(max=NUM_PRICES - 2).to(torch.int32))
