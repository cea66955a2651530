"""The interface that every codec and every baseline has: pure, inputs untouched. What only reads old files has half of it.

tensors --encode--> Payload (named sections + a small JSON object) --decode--> tensors
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from weightzip.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

JSON = Any  # what the json module reads and writes: None, bool, int, float, str, list and dict of these


@dataclass(frozen=True)
class TensorSpec:
    """What is known of a tensor before it is decoded: its name, shape and dtype (torch's name, e.g. "float32")."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def num_elements(self) -> int:
        """Number of elements; 1 for a scalar, 0 for an empty tensor."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True)
class Payload:
    """A coded set of tensors.

    sections: named byte strings, each for one purpose, so that every byte of a file can be accounted for.
    meta: what `decode` needs besides, a JSON object; it is stored in the file's header.
    latents: number of latent values among the sections (0 where there are none); the paper counts only these.
    notes: facts of the encoding that are not stored, for reports; each codec says which.
    """

    sections: dict[str, bytes]
    meta: dict[str, JSON] = field(default_factory=dict)
    latents: int = 0
    notes: dict[str, Any] = field(default_factory=dict)


class Decoder(Protocol):
    """Gives back what some codec coded, perhaps one of an earlier version, whose files are read but no longer written."""

    name: ClassVar[str]  # under which a file says how to decode it

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors named by `specs`, in order. Raises FormatError where the payload does not fit the specs."""


class Codec(Decoder, Protocol):
    """Compresses a set of tensors and gives them back.

    Lossy codecs take finite float32 tensors on the CPU and return float32 tensors; the encoding converts dtypes.
    """

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Code the tensors; their order is kept."""
