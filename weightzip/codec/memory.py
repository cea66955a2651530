"""What decoding a file takes, known from its header alone, and whether there is as much."""

from __future__ import annotations

from weightzip.checkpoint import dtype_of
from weightzip.codec.auto import AutoCodec
from weightzip.codec.auto_v1 import AutoCodecV1
from weightzip.codec.header import Header
from weightzip.codec.paper import PaperCodec
from weightzip.codec.paper_header import working_bytes
from weightzip.codec.paper_v1 import PaperCodecV1
from weightzip.devices import physical_memory
from weightzip.errors import LimitError

ALLOWANCE = 64 << 20  # bytes of working memory that every file may take, whatever the cap
# Beyond the restored tensors, per weight, measured at the peak:
_AUTO_BYTES = 14  # a symbol (4), its float32 (4), one tensor's weights in float64 (8), less the restored value (2 or more)
# Learned bases are within that. They have at most 3 numbers for each weight of their tensor, half of which are read (5 bytes)
# while nothing is restored, and all of which are kept (2 bytes) while tensors are restored one by one. Those of the one tensor
# that is being restored, and the cosine transforms, are within ALLOWANCE.
_BASELINE_BYTES = 32  # of the hungriest, uniform quantisation: its indices unpacked, and its arithmetic
_BASELINE_TENSOR_BYTES = 4096  # what a baseline may store for a tensor besides


def check_memory(num_bytes: int, cap: int | None, *, working: int = 0) -> None:
    """Raise LimitError where restored tensors of this size, and the working memory to get them, are over the cap.

    cap: bytes; by default all of this machine's memory. working: bytes, which count as far as they are over ALLOWANCE.
    """
    limit = cap if cap is not None else physical_memory()
    needed = num_bytes + max(0, working - ALLOWANCE)
    if limit is not None and needed > limit:
        what = "the cap" if cap is not None else "this machine's memory"
        how = f" and takes {needed:,} to decode" if needed > num_bytes else ""
        raise LimitError(f"restores to {num_bytes:,} bytes{how}, over {what} of {limit:,}; raise it with --memory")


def decoding_bytes(header: Header) -> int:
    """About how many bytes decoding takes at its peak beyond the restored tensors.

    Raises FormatError or LimitError where the codec's settings make no sense.
    """
    lossy = [spec for spec in header.tensors if spec.name not in header.exact]
    exact = sum(spec.num_elements * dtype_of(spec.dtype).itemsize for spec in header.tensors if spec.name in header.exact)
    num_weights = sum(spec.num_elements for spec in lossy)
    if not lossy:
        return exact  # unpacked, before it is cut into tensors
    if header.codec in (AutoCodec.name, AutoCodecV1.name):
        return exact + _AUTO_BYTES * num_weights
    if header.codec in (PaperCodec.name, PaperCodecV1.name):
        return exact + working_bytes(header.meta, num_weights)
    return exact + _BASELINE_BYTES * num_weights + _BASELINE_TENSOR_BYTES * len(lossy)
