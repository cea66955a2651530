"""Trellis-coded quantisation of a linear layer whose inputs are known, by coordinate descent on error and bits.

What counts is the layer's output. With inputs h [n, columns] and outputs y [n, rows], the weights W [columns, rows] minimise
|y - h W|^2 + price * bits(W): all columns but one held, the best real-valued column is a target for the trellis search, and
each pass over the columns, at prices fitted to the last one, makes good what the others are off by. (Error feedback in one
pass, as in GPTQ of Frantar et al. 2023, followed by such passes, was measured to end up at the same size.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from weightzip.entropy.machine import CHUNK, Machine, points
from weightzip.entropy.magnitudes import MAX_CLASSES, MagnitudeTables
from weightzip.entropy.streams import count_symbols
from weightzip.quantise.axes import AxisScales, fit_axis_scales
from weightzip.quantise.trellis import NUM_PRICES, TRELLIS_TRADEOFF, run_machine, search

_PASSES = 6  # at least
_MOST_PASSES = 40
_CLOSE = 0.99  # of the error allowed, from which the step is coarse enough
_FINE_STEP_ERROR = 0.25  # squared fine steps by which a weight is off, to start with
_LARGEST_CHANGE = 4.0  # of the step, from one pass to the next
_RIDGE = 1e-8  # of the inputs' power: where inputs depend on each other, there is still one answer
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class QuantisedLayer:
    """symbols, quantisers: [columns, rows]. scales: of an array [columns, 1, rows]. step: what a fine step is worth."""

    symbols: NDArray[np.int32]
    quantisers: NDArray[np.uint8]
    scales: AxisScales
    step: float

    @property
    def points(self) -> NDArray[np.int32]:
        """The weights [columns, rows] in fine steps."""
        return points(self.symbols, self.quantisers)


def quantise_layer(inputs: Doubles, outputs: Doubles, machine: Machine, max_error: float) -> QuantisedLayer:
    """Weights [columns, rows] that take inputs [n, columns], each of mean square about 1, to outputs [n, rows].

    The step is the coarsest found at which the outputs' mean square error is at most max_error (not below what double
    precision and least squares allow). Costs O(rows * columns * (columns + states)) a pass. The symbols are searched as they
    are coded: flat, column after column, at the beginning of a stream.
    """
    problem = _Problem.of(inputs, outputs)
    weights, step = problem.solution, math.sqrt(max_error / (_FINE_STEP_ERROR * max(inputs.shape[1], 1)))
    prices = np.zeros((MAX_CLASSES, 2, NUM_PRICES), np.float32)
    best: QuantisedLayer | None = None
    for number in range(1, _MOST_PASSES + 1):
        layer = _pass(problem, weights, step, machine, prices)
        weights = layer.points.astype(np.float64) * step
        prices = _fitted_prices(layer)
        error = problem.error(weights)
        if error <= max_error and number >= _PASSES:
            best = layer
            if error >= _CLOSE * max_error:
                break
        change = math.sqrt((_CLOSE + 1.0) / 2 * max_error / max(error, 1e-300))
        step *= min(max(change, 1 / _LARGEST_CHANGE), _LARGEST_CHANGE)
    return best or layer


@dataclass(frozen=True)
class _Problem:
    """Second moments: gram [columns, columns] of the inputs, cross [columns, rows] with the outputs; power of the outputs."""

    gram: Doubles
    cross: Doubles
    power: float
    solution: Doubles  # least squares, [columns, rows]

    @staticmethod
    def of(inputs: Doubles, outputs: Doubles) -> _Problem:
        # Sums by torch, which the caller can hold to one thread, so that their bits do not depend on how many there are.
        x, y = torch.from_numpy(inputs), torch.from_numpy(outputs)
        gram, cross = x.T @ x / len(x), x.T @ y / len(x)
        damped = gram + _RIDGE * torch.eye(len(gram), dtype=gram.dtype)
        solution = torch.linalg.solve(damped, cross)
        return _Problem(damped.numpy(), cross.numpy(), float(y.square().sum() / len(y)), solution.numpy())

    def pull(self, weights: Doubles, columns: slice, rows: slice) -> Doubles:
        """What is missing from the best real values of a rectangle of the weights, all others held."""
        held = torch.from_numpy(self.gram[columns]) @ torch.from_numpy(np.ascontiguousarray(weights[:, rows]))
        missing = torch.from_numpy(self.cross[columns, rows]) - held
        pull: Doubles = torch.linalg.solve(torch.from_numpy(self.gram[columns, columns]), missing).numpy()
        return pull

    def error(self, weights: Doubles) -> float:
        """Mean square error of the outputs."""
        quadratic = weights * (torch.from_numpy(self.gram) @ torch.from_numpy(weights)).numpy()
        total = float((quadratic - 2 * weights * self.cross).sum()) + self.power
        return max(total, 0.0) / max(len(weights[0]), 1)


def _pass(problem: _Problem, start: Doubles, step: float, machine: Machine, prices: NDArray[np.float32]) -> QuantisedLayer:
    """Search every chunk of the machine anew, one after the other, the later ones as they were."""
    weights = start / step  # becomes points
    scales = fit_axis_scales(weights.astype(np.float32)[:, None, :])
    classes = scales.classes()
    in_steps = _Problem(problem.gram, problem.cross / step, 0.0, problem.solution)
    symbols = np.zeros(weights.size, np.int32)
    quantisers = np.zeros(weights.size, np.uint8)
    for first in range(0, weights.size, CHUNK):
        part = slice(first, min(first + CHUNK, weights.size))
        for columns, rows in _rectangles(part, weights.shape[1]):  # no two share a row, so none sees what another became
            weights[columns, rows] += in_steps.pull(weights, columns, rows)
        values = weights.reshape(-1)[part].astype(np.float32)
        whole = np.array([[0, values.size]], np.int64)
        symbols[part] = search(values, classes[part], whole, machine, prices, TRELLIS_TRADEOFF)
        quantisers[part] = run_machine(symbols[part], whole, machine)
        weights.reshape(-1)[part] = points(symbols[part], quantisers[part])
    shape = start.shape
    return QuantisedLayer(symbols.reshape(shape), quantisers.reshape(shape), scales, step)


def _rectangles(part: slice, num_rows: int) -> Iterator[tuple[slice, slice]]:
    """The columns and rows of a flat part of weights [columns, rows]: one column, or up to three rectangles across several."""
    cuts = sorted({0, part.start % num_rows, part.stop % num_rows, num_rows})
    for top, bottom in pairwise(cuts):
        columns = slice(-((top - part.start) // num_rows), -((top - part.stop) // num_rows))
        if columns.start < columns.stop:
            yield columns, slice(top, bottom)


def _fitted_prices(layer: QuantisedLayer) -> NDArray[np.float32]:
    counts = count_symbols(layer.symbols.reshape(-1), layer.scales.classes(), layer.quantisers.reshape(-1), MAX_CLASSES)
    return MagnitudeTables.fit(counts).bits(MAX_CLASSES, NUM_PRICES)
