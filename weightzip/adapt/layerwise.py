"""Layer by layer: the symbols that training begins with, chosen by what they do to each layer's outputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from weightzip.adapt.latents import Latents
from weightzip.adapt.moments import Moments
from weightzip.adapt.rate import Rate
from weightzip.quantise.feedback import quantise_by_feedback, quantise_by_rows
from weightzip.quantise.trellis import NUM_PRICES

_PRICE = 0.1125  # squared steps of a symbol per bit: where a bit and the error it saves are worth the same
_WITHIN = 0.49  # of a step, within which latents lie around their symbol
_ROUNDS = 2


def quantised_layers(latents: Latents, values: Tensor, step_sizes: Tensor, moments: Mapping[str, Moments]) -> Tensor:
    """Latents [n] near `values` whose nearest symbols keep the layers' outputs better than rounding each by itself.

    step_sizes: of symbols, [n]. Tensors without moments stay as they are.
    """
    result = values.clone()
    for _ in range(_ROUNDS):
        rate = Rate.fit((result / step_sizes).round(), latents.latent_shapes)
        parts = [list(torch.split(flat, latents.sizes)) for flat in (values, step_sizes, rate.places, result)]
        slopes = rate.slopes.view(-1, NUM_PRICES - 1)
        for number, name in enumerate(latents.names):
            found = moments.get(name)
            if found is not None and parts[0][number].numel():
                exact, steps, places = (part[number] for part in parts[:3])
                parts[3][number].copy_(
                    _layer(latents, number, exact, steps, slopes[(places // (NUM_PRICES - 1)).long()], found)
                )
    return result


def _layer(latents: Latents, number: int, values: Tensor, steps: Tensor, slopes: Tensor, moments: Moments) -> Tensor:
    """The latents [m] of one tensor."""
    if moments.total.dim() == 1:
        return _embedding(latents, number, values, steps, slopes, moments)
    basis, columns = _input_basis(latents, number)
    gram = moments.square if basis is None else basis.T @ moments.square @ basis
    if len(gram) != columns or values.numel() % columns or not bool(gram.isfinite().all()):
        return values
    step = float(steps[0])
    rows = (values / step).view(-1, columns)
    symbols, before = quantise_by_feedback(rows, gram, _PRICE, slopes.view(len(rows), columns, -1))
    return (_around(symbols, before) * step).reshape(-1).to(values.dtype)


def _embedding(latents: Latents, number: int, values: Tensor, steps: Tensor, slopes: Tensor, moments: Moments) -> Tensor:
    """The latents [m] of an embedding: a word's errors count as often as the word occurs."""
    rows = len(moments.total)
    outputs = 2 if latents.transforms.views[number].kind == "groups" else 1
    if any(basis is not None for basis in latents.bases[number][:outputs]) or values.numel() % rows:
        return values  # words are mixed with each other
    exact = (values / steps).view(rows, -1)
    symbols = quantise_by_rows(exact, moments.total, _PRICE, slopes.view(rows, exact.shape[1], -1))
    return (_around(symbols, exact.double()) * float(steps[0])).reshape(-1).to(values.dtype)


def _around(symbols: Tensor, wanted: Tensor) -> Tensor:
    """What was wanted, as far as it lies where its symbol is the nearest one."""
    return torch.minimum(torch.maximum(wanted, symbols - _WITHIN), symbols + _WITHIN)


def _input_basis(latents: Latents, number: int) -> tuple[Tensor | None, int]:
    """What takes a tensor's latents along its input axes to weights [columns, latents], and how many latents those are.

    Outputs may be transformed as well: an orthonormal transform of them leaves the squared error of all outputs as it is.
    """
    view = latents.transforms.views[number]
    axes = (2,) if view.kind == "groups" else (1, 2)
    matrices = [latents.bases[number][axis] for axis in axes]
    sizes = [latents.latent_shapes[number][axis] for axis in axes]
    count = sizes[0] * sizes[1] if len(sizes) == 2 else sizes[0]
    if all(matrix is None for matrix in matrices):
        return None, count
    whole = [
        torch.eye(size, device=latents.index.device) if matrix is None else matrix
        for matrix, size in zip(matrices, sizes, strict=True)
    ]
    basis = whole[0] if len(whole) == 1 else torch.kron(whole[0].contiguous(), whole[1].contiguous())
    return basis.double(), count
