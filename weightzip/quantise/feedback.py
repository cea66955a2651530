"""Quantisation of a linear layer whose inputs are known: the error of one column is made good by the columns after it.

Optimal brain quantisation in a fixed order (Frantar et al. 2023, "GPTQ", section 3), with the code length in each choice
(as in CERWU, Conzelmann & Bamler 2025). What counts is the error of the layer's output, tr((W - W') G (W - W')').
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weightzip.entropy import code_lengths
from weightzip.quantise.scalar import NUM_MAGNITUDES, TRADEOFF, bargain, quantise

_DAMPING = 0.01  # of the mean input power: keeps directions that no input shows from drifting


def quantise_with_feedback(
    values: NDArray[np.float64], gram: NDArray[np.float64], classes: NDArray[np.uint8], *, tradeoff: float = TRADEOFF
) -> NDArray[np.int32]:
    """Symbols [rows, columns] for values in units of the step size, given the inputs' second moments G [columns, columns].

    Prices come from tables fitted to plain quantisation. Costs O(rows columns^2).
    """
    columns = gram.shape[0]
    damped = gram + _DAMPING * np.trace(gram) / max(columns, 1) * np.eye(columns)
    spread = np.linalg.cholesky(np.linalg.inv(damped)).T  # upper triangular: how an error is shared out to later columns
    flat_classes = classes.reshape(-1)
    bits = code_lengths(
        quantise(values.reshape(-1).astype(np.float32), flat_classes, tradeoff=tradeoff),
        flat_classes,
        num_magnitudes=NUM_MAGNITUDES,
    )
    remaining = values.copy()
    symbols = np.zeros(values.shape, np.int32)
    for column in range(columns):
        wanted = remaining[:, column]
        symbols[:, column] = bargain(wanted, classes[:, column], bits, tradeoff)
        error = (wanted - symbols[:, column]) / spread[column, column]  # [rows]
        remaining[:, column + 1 :] -= np.outer(error, spread[column, column + 1 :])
    return symbols
