"""Quantising a layer column by column, each making good what those before it are off by, with the rate in every choice.

For weights Z [rows, columns] whose inputs have the moments H [columns, columns], minimises  tr((Z - Q) H (Z - Q)') + price *
bits(Q) greedily: a column is rounded, and what that does to the outputs is taken from the columns that are still free (OBQ:
Frantar & Alistarh 2022; in one order for all rows and by Cholesky factors: GPTQ, Frantar et al. 2023; with rate: CERWU, 2025).
"""

from __future__ import annotations

import torch
from torch import Tensor

_DAMPING = 0.01  # of the mean moment, added to each: inputs that hardly occur must not make weights grow
_LEAST_OFTEN = 0.01  # of the mean sensitivity of rows
_AROUND = 2  # symbols below the nearest one, towards zero, that a choice may fall on


def quantise_by_feedback(values: Tensor, moments: Tensor, price: float, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Symbols [rows, columns] for values in units of a step, and the values as feedback had made them before each was rounded.

    moments: [columns, columns]. price: of a bit, in squared steps of a column of mean sensitivity. slopes: bits from each
    magnitude to the next [rows, columns, magnitudes]. Costs O(rows * columns^2).
    """
    factor = _inverse_factor(moments)
    free = values.double().clone()
    symbols = torch.zeros_like(free)
    sensitivity = factor.diagonal().square().reciprocal()
    prices = price * torch.exp(sensitivity.log().mean()) / sensitivity  # [columns]
    for column in range(free.shape[1]):
        wanted = free[:, column]
        chosen = _cheapest(wanted, prices[column], slopes[:, column])
        symbols[:, column] = chosen
        error = (wanted - chosen) / factor[column, column]
        free[:, column + 1 :] -= error[:, None] * factor[column, column + 1 :]
    return symbols, free


def quantise_by_rows(values: Tensor, sensitivities: Tensor, price: float, slopes: Tensor) -> Tensor:
    """Symbols [rows, columns] for values in units of a step, where the errors of a row count as much as its sensitivity says.

    sensitivities: [rows], in any unit; a row of none keeps the least that its neighbours' bargain allows. Else as above.
    """
    known = sensitivities.clamp(min=_LEAST_OFTEN * float(sensitivities.mean()))
    prices = price * torch.exp(known.log().mean()) / known  # [rows]
    columns = [_cheapest(values[:, column].double(), prices, slopes[:, column]) for column in range(values.shape[1])]
    return torch.stack(columns, 1)


def _inverse_factor(moments: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse of damped moments."""
    damping = _DAMPING * moments.diagonal().mean() + 1e-12
    damped = moments.double() + damping * torch.eye(len(moments), dtype=torch.float64, device=moments.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def _cheapest(wanted: Tensor, price: float | Tensor, slopes: Tensor) -> Tensor:
    """For each value the best bargain of error and bits among the nearest symbol and some towards zero."""
    magnitudes = wanted.abs()
    best = magnitudes.round()
    best_cost = (magnitudes - best).square()
    saved, candidate = torch.zeros_like(best), best
    for _ in range(_AROUND):
        index = (candidate - 1).clamp(0, slopes.shape[1] - 1).long()[:, None]
        saved = saved + torch.where(candidate > 0, slopes.gather(1, index)[:, 0].double(), 0.0)
        candidate = (candidate - 1).clamp(min=0)
        cost = (magnitudes - candidate).square() - price * saved
        best = torch.where(cost < best_cost, candidate, best)
        best_cost = torch.minimum(cost, best_cost)
    return best * wanted.sign()
