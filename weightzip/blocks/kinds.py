"""What kind of tensor a block comes from, told by the tensor's name and shape alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

Kind = Literal["conv", "linear", "recurrent", "embedding", "bias", "norm"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_RECURRENT = ("lstm", "gru", "rnn", "recurrent", "weight_hh", "weight_ih")
_NORMS = ("norm", "bn", "ln_", "running_mean", "running_var")


def kind_of(name: str, shape: Sequence[int]) -> Kind:
    """What a tensor is, by its name and its shape.

    >>> kind_of("lstm.weight_hh_l0", (512, 128)), kind_of("bert.embeddings.LayerNorm.weight", (384,)), kind_of("fc.bias", (10,))
    ('recurrent', 'norm', 'bias')
    """
    lower = name.lower()
    if len(shape) < 2:
        return "norm" if any(part in lower for part in _NORMS) else "bias"
    if any(part in lower for part in _RECURRENT):
        return "recurrent"
    if "emb" in lower:
        return "embedding"
    return "conv" if len(shape) > 2 else "linear"
