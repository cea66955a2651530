"""What decoding a file takes, known from its header alone, and whether there is as much.

Tensors that are kept count all together; where each part is written out as soon as it is decoded, only the largest part counts.
"""

from __future__ import annotations

from collections.abc import Mapping

from weightzip.codec.auto import AutoCodec
from weightzip.codec.auto_v1 import AutoCodecV1
from weightzip.codec.family import FamilyCodec
from weightzip.codec.family_header import family_working_bytes
from weightzip.codec.header import Header, Part
from weightzip.codec.paper import PaperCodec
from weightzip.codec.paper_header import working_bytes
from weightzip.codec.paper_v1 import PaperCodecV1
from weightzip.devices import physical_memory
from weightzip.errors import LimitError

ALLOWANCE = 64 << 20  # bytes of working memory that every file may take, whatever the cap
EXPANSION = 64  # times its own size that a file may restore to on disk, whatever memory there is
# Beyond the restored tensors, per weight, measured at the peak:
_AUTO_BYTES = 14  # a symbol (4), its float32 (4), one tensor's weights in float64 (8), less the restored value (2 or more)
# Learned bases are within that. They have at most 3 numbers for each weight of their tensor, half of which are read (5 bytes)
# while nothing is restored, and all of which are kept (2 bytes) while tensors are restored one by one. Those of the one tensor
# that is being restored, and the cosine transforms, are within ALLOWANCE.
_BASELINE_BYTES = 32  # of the hungriest, uniform quantisation: its indices unpacked, and its arithmetic
_BASELINE_TENSOR_BYTES = 4096  # what a baseline may store for a tensor besides


Sizes = Mapping[tuple[bool, int], int]  # bytes of the sections of each part (exact or not, number)


def check_kept(header: Header, sizes: Sizes, cap: int | None) -> None:
    """Raise LimitError where decoding, with all tensors kept, takes more than the cap.

    cap: bytes; by default all of this machine's memory.
    """
    working = max((_working_bytes(header, part, sizes) for part in header.parts), default=0)
    _check(f"restores to {header.tensor_bytes:,} bytes", header.tensor_bytes, working, cap)


def check_parts(header: Header, sizes: Sizes, cap: int | None, *, wanted: frozenset[str] | None = None) -> None:
    """Raise LimitError where decoding one part after the other, none of which is kept, takes more than the cap.

    wanted: only parts with one of these tensors are decoded.
    """
    for part in header.parts:
        if wanted is None or any(spec.name in wanted for spec in part.specs):
            what = "restores to" if len(header.parts) == 1 else f"the part with {part.specs[0].name!r} restores to"
            _check(f"{what} {part.tensor_bytes:,} bytes", part.tensor_bytes, _working_bytes(header, part, sizes), cap)


def check_one(num_bytes: int, cap: int | None) -> None:
    """Raise LimitError where a single tensor, as it comes out of what is stored, takes more than the cap."""
    _check(f"restores to {num_bytes:,} bytes", num_bytes, 0, cap)


def check_written(num_bytes: int, file_bytes: int, cap: int | None) -> None:
    """Raise LimitError where a file of `file_bytes` restores to more than fits in memory and than any codec would shrink so.

    A few bytes can stand for any amount; what is not kept in memory should not fill a disk either.
    """
    limit = _limit(cap)
    if limit is not None and num_bytes > max(limit, EXPANSION * file_bytes):
        raise LimitError(
            f"restores to {num_bytes:,} bytes, over {_limit_name(cap)} of {limit:,} and over {EXPANSION} times the file; "
            "raise it with --memory"
        )


def _check(what: str, tensor_bytes: int, working: int, cap: int | None) -> None:
    limit = _limit(cap)
    needed = tensor_bytes + max(0, working - ALLOWANCE)
    if limit is not None and needed > limit:
        how = f" and takes {needed:,} to decode" if needed > tensor_bytes else ""
        raise LimitError(f"{what}{how}, over {_limit_name(cap)} of {limit:,}; raise it with --memory")


def _limit(cap: int | None) -> int | None:
    return cap if cap is not None else physical_memory()


def _limit_name(cap: int | None) -> str:
    return "the cap" if cap is not None else "this machine's memory"


def _working_bytes(header: Header, part: Part, sizes: Sizes) -> int:
    """About how many bytes decoding a part takes at its peak beyond the restored tensors, its sections included.

    Raises FormatError or LimitError where the codec's settings make no sense.
    """
    stored = sizes[part.exact, part.number]
    if part.exact:
        return stored + (part.tensor_bytes if header.version == 1 else 0)  # which unpacks all, then copies each tensor
    num_weights = sum(spec.num_elements for spec in part.specs)
    if header.codec in (AutoCodec.name, AutoCodecV1.name):
        return stored + _AUTO_BYTES * num_weights
    if header.codec in (PaperCodec.name, PaperCodecV1.name):
        return stored + working_bytes(header.meta, num_weights)
    if header.codec == FamilyCodec.name:
        return stored + family_working_bytes(header.meta, num_weights)
    return stored + _BASELINE_BYTES * num_weights + _BASELINE_TENSOR_BYTES * len(part.specs)
