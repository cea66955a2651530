"""What `compress` and `info` report, as one JSON-able dictionary with the field names of the command line's --json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

from weightzip.interface import JSON

if TYPE_CHECKING:
    from weightzip.codec import Header


class TensorSummary(TypedDict):
    """One stored tensor: `coding` is "lossy" or "exact", `bytes` what it takes once restored.

    stored_bytes: of the file, those that are its own (`weightzip.codec.shares`); None where nobody looked.
    """

    name: str
    shape: list[int]
    dtype: str
    coding: str
    bytes: int
    stored_bytes: float | None


class Summary(TypedDict):
    """Sizes in bytes; ratios are input_bytes / file_bytes, every byte of the file counted.

    latent_ratio counts only the latents, as the paper does: input_bytes / (4 * latents); None without latents.
    sections: bytes by purpose; sums to file_bytes. shared_bytes: what all tensors share, such as the header; with the
    stored_bytes of all tensors it sums to file_bytes; None where nobody looked.
    relative_mse, max_abs_error: against the source, over its floating-point tensors.
    note: what whoever asked for the file should know besides; "" for nothing.
    """

    input: str
    output: str
    preset: str
    tensors: int
    weights: int
    input_bytes: int
    file_bytes: int
    ratio: float
    bits_per_weight: float
    latents: int
    latent_ratio: float | None
    sections: dict[str, int]
    shared_bytes: float | None
    relative_mse: float
    max_abs_error: float
    metric: dict[str, JSON] | None
    note: str
    seconds: float
    tensor_list: list[TensorSummary]


def summarise(
    header: Header,
    section_bytes: Mapping[str, int],
    *,
    source: str,
    output: str,
    seconds: float,
    stored: Mapping[str, float] | None = None,
) -> Summary:
    """The summary of a file with this header, whose sections take these many bytes, and its tensors those of `stored`."""
    from weightzip.checkpoint import num_bytes
    from weightzip.codec import section_kind

    file_bytes = sum(section_bytes.values())
    by_kind: dict[str, int] = {}
    for name, size in section_bytes.items():
        kind, _ = section_kind(name)
        by_kind[kind] = by_kind.get(kind, 0) + size
    input_bytes, weights = header.tensor_bytes, header.num_weights
    return Summary(
        input=source,
        output=output,
        preset=header.codec.split(".")[0],
        tensors=len(header.tensors),
        weights=weights,
        input_bytes=input_bytes,
        file_bytes=file_bytes,
        ratio=input_bytes / file_bytes,
        bits_per_weight=8 * file_bytes / weights if weights else 0.0,
        latents=header.latents,
        latent_ratio=input_bytes / (4 * header.latents) if header.latents else None,
        sections=by_kind,
        shared_bytes=None if stored is None else max(file_bytes - math.fsum(stored.values()), 0.0),
        relative_mse=header.relative_mse,
        max_abs_error=header.max_abs_error,
        metric=None,
        note="",
        seconds=seconds,
        tensor_list=[
            TensorSummary(
                name=spec.name,
                shape=list(spec.shape),
                dtype=spec.dtype,
                coding="exact" if spec.name in header.exact else "lossy",
                bytes=num_bytes(spec),
                stored_bytes=None if stored is None else stored[spec.name],
            )
            for spec in header.tensors
        ],
    )
