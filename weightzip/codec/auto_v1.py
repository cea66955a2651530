"""Reading what the first `auto` codec wrote: scalar-quantised matrices under one set of tables.

section "symbols" --decode--> integer matrices [rows, columns] --* step--> tensors
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from weightzip.codec.matrices import CodedMatrices, decode_matrices
from weightzip.codec.steps import Steps
from weightzip.entropy import decode_integers
from weightzip.errors import FormatError
from weightzip.interface import Payload, TensorSpec


class AutoCodecV1:
    """A decoder alone: files of the format "auto" are no longer written."""

    name: ClassVar[str] = "auto"

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors: symbol times step, one rounding each, hence the same on every machine."""
        base = payload.meta.get("step")
        if set(payload.meta) != {"step"} or not isinstance(base, float) or not 0 < base < math.inf:
            raise FormatError("the auto codec's header must hold exactly a positive step size")
        if sorted(payload.sections) != ["scales", "steps", "symbols"]:
            raise FormatError("the auto codec needs exactly the sections scales, steps and symbols")
        coded = CodedMatrices(payload.sections["scales"], payload.sections["symbols"])
        matrices = decode_matrices(coded, [_matrix_shape(spec.shape) for spec in specs])
        steps = Steps(base, tuple(decode_integers(payload.sections["steps"], len(specs)))).sizes()
        with np.errstate(over="ignore"):
            return {
                spec.name: torch.from_numpy((matrix * step).astype(np.float32)).reshape(spec.shape)
                for spec, matrix, step in zip(specs, matrices, steps, strict=True)
            }


def _matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """[outputs, everything else]; vectors and scalars are one row, and where there is no element there are no rows."""
    if 0 in shape:
        return 0, 0
    rows = shape[0] if len(shape) > 1 else 1
    return rows, math.prod(shape[1:] if len(shape) > 1 else shape)
