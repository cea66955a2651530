"""What a prediction leaves over, in fine steps, as arrays that the symbols' coder takes.

    by tensor: the weights of each in the shape of its plain view, so that rows and columns get scales
    by class:  all weights of which the network said that they are off by about as much, one array for each such class

The second needs a network that says so for every element: then its word stands for the scales, and none are stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightzip.blocks.views import possible_views
from weightzip.codec.family_header import Layout
from weightzip.codec.steps import STEPS_PER_OCTAVE
from weightzip.interface import TensorSpec
from weightzip.quantise.axes import Shape

_QUARTERS_PER_NAT = 0.5 * STEPS_PER_OCTAVE / math.log(2)  # of a deviation, for each of the log variance
_QUARTERS_PER_CLASS = 2  # classes are half octaves of the deviation
_MOST_QUARTERS = 80  # deviations beyond are cut


class Arrangement:
    """The arrays of residuals, and where in the sequence of all weights each of their values lies."""

    def __init__(self, shapes: Sequence[Shape], order: NDArray[np.int64] | None) -> None:
        """order: places in the sequence, array after array; None for the sequence as it is."""
        self.shapes, self._order = list(shapes), order

    @staticmethod
    def of(
        layout: Layout, specs: Sequence[TensorSpec], log_variance: Tensor | None = None, step_codes: Sequence[int] = ()
    ) -> Arrangement:
        """For the weights of these tensors.

        By class: log_variance [num_weights], of each on the grid of exact arithmetic; step_codes: each tensor's step, in
        quarter octaves.
        """
        if layout == "tensors" or log_variance is None:
            return Arrangement([possible_views(spec.shape)[0].sizes for spec in specs if spec.num_elements], None)
        quarters = torch.round(log_variance * _QUARTERS_PER_NAT).clamp_(-_MOST_QUARTERS, _MOST_QUARTERS).short().numpy()
        steps = np.repeat(np.array(step_codes, np.int16), [spec.num_elements for spec in specs])
        classes = (quarters - steps) // _QUARTERS_PER_CLASS
        order = np.argsort(classes, kind="stable")
        _, counts = np.unique(classes, return_counts=True)
        return Arrangement([(1, 1, int(count)) for count in counts], order)

    def arrays(self, values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The arrays of values [num_weights]."""
        ordered = values if self._order is None else values[self._order]
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(ordered, ends), self.shapes, strict=True)]

    def sequence(self, arrays: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
        """Inverse of `arrays`, for points."""
        flat = np.concatenate([array.reshape(-1) for array in arrays])
        if self._order is None:
            return flat
        values = np.empty_like(flat)
        values[self._order] = flat
        return values
