"""The header of a .wz file: which tensors it holds, how each was coded, and what surrounds them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import torch

from weightzip.checkpoint import (
    MAX_NAME_BYTES,
    MAX_RANK,
    MAX_TENSORS,
    Layout,
    dtype_of,
    has_possible_size,
    json_depth,
    num_bytes,
)
from weightzip.container import VERSION
from weightzip.errors import FormatError, LimitError
from weightzip.interface import JSON, TensorSpec

LOSSY_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
MAX_DEPTH = 8  # objects and lists inside each other, in all of a header but its layout, which holds a whole tree
_COMMON_DTYPE = "float32"
_SHOWN = 60  # characters of a name in a message


@dataclass(frozen=True)
class Part:
    """A run of tensors that can be decoded without the others; number: among those of its kind, from 0 on."""

    exact: bool
    number: int
    specs: tuple[TensorSpec, ...]

    @property
    def tensor_bytes(self) -> int:
        """Bytes of its tensors, once restored."""
        return sum(map(num_bytes, self.specs))


@dataclass(frozen=True)
class Header:
    """codec: the name of the lossy codec, "lossless" if there is none. meta: what that codec needs to decode.

    tensors: all stored tensors in order. exact: which of them are stored bit for bit.
    relative_mse, max_abs_error: against the source, over its floating-point tensors. latents: as the paper counts them.
    lossy_parts, exact_parts: how many tensors each part has, of those coded lossily and of the exact ones, in order; together
    all of them. version: of the format.
    """

    codec: str
    meta: dict[str, JSON]
    tensors: tuple[TensorSpec, ...]
    exact: frozenset[str]
    layout: Layout
    relative_mse: float
    max_abs_error: float
    lossy_parts: tuple[int, ...]
    exact_parts: tuple[int, ...]
    latents: int = 0
    version: int = VERSION

    def to_json(self) -> dict[str, JSON]:
        """As stored: a tensor is [name, shape], then its dtype if not float32, then 1 if exact."""
        stored: dict[str, JSON] = {
            "codec": self.codec,
            "meta": self.meta,
            "tensors": [self._entry(spec) for spec in self.tensors],
            "layout": self.layout.to_json(),
            "error": [_short(self.relative_mse), _short(self.max_abs_error)],
        }
        if self.latents:
            stored["latents"] = self.latents
        if len(self.lossy_parts) > 1 or len(self.exact_parts) > 1:
            stored["parts"] = [list(self.lossy_parts), list(self.exact_parts)]
        return stored

    def _entry(self, spec: TensorSpec) -> list[JSON]:
        exact = spec.name in self.exact
        dtype = [spec.dtype] if exact or spec.dtype != _COMMON_DTYPE else []
        return [spec.name, list(spec.shape), *dtype, *([1] if exact else [])]

    @staticmethod
    def from_json(stored: Mapping[str, JSON], version: int = VERSION) -> Header:
        """Check and take apart a stored header. Raises FormatError, or LimitError where it goes over a named limit."""
        required = {"codec", "meta", "tensors", "layout", "error"}
        if not required <= set(stored) <= required | {"latents"} | ({"parts"} if version > 1 else set()):
            raise FormatError("the header lacks a field or has one that this version does not know")
        _check_unicode(stored)
        if not isinstance(stored["codec"], str) or not isinstance(stored["meta"], dict):
            raise FormatError("the header's codec is malformed")
        if 1 + json_depth(stored["meta"]) > MAX_DEPTH:
            raise LimitError(f"the codec's settings in the header are nested deeper than {MAX_DEPTH}")
        tensors, exact = _parse_tensors(stored["tensors"])
        error = stored["error"]
        if not isinstance(error, list) or len(error) != 2 or not all(is_number(value) for value in error):
            raise FormatError("the header's errors are malformed")
        latents = stored.get("latents", 0)
        if type(latents) is not int or latents < 0:
            raise FormatError("the header's number of latents is malformed")
        lossy_parts, exact_parts = _parse_parts(stored.get("parts"), len(tensors) - len(exact), len(exact))
        return Header(
            codec=stored["codec"],
            meta=stored["meta"],
            tensors=tensors,
            exact=exact,
            layout=Layout.from_json(stored["layout"]),
            relative_mse=error[0],
            max_abs_error=error[1],
            lossy_parts=lossy_parts,
            exact_parts=exact_parts,
            latents=latents,
            version=version,
        )

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The runs of tensors that were coded together, in the order of the file."""
        lossy = iter([spec for spec in self.tensors if spec.name not in self.exact])
        exact = iter([spec for spec in self.tensors if spec.name in self.exact])
        return (
            *(Part(False, number, tuple(islice(lossy, count))) for number, count in enumerate(self.lossy_parts)),
            *(Part(True, number, tuple(islice(exact, count))) for number, count in enumerate(self.exact_parts)),
        )

    @property
    def num_weights(self) -> int:
        """Elements of floating-point tensors."""
        return sum(spec.num_elements for spec in self.tensors if dtype_of(spec.dtype).is_floating_point)

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors, once restored."""
        return sum(map(num_bytes, self.tensors))


def section_name(kind: str, number: int) -> str:
    """What the section of some kind is called in the file that belongs to part `number`.

    >>> section_name("symbols", 0), section_name("symbols", 2)
    ('symbols', 'symbols.2')
    """
    return f"{kind}.{number}" if number else kind


def section_kind(name: str) -> tuple[str, int]:
    """Inverse of `section_name`.

    >>> section_kind("symbols"), section_kind("symbols.2")
    (('symbols', 0), ('symbols', 2))
    """
    kind, _, number = name.rpartition(".")
    if number.isdecimal() and len(number) < 10 and section_name(kind, int(number)) == name:
        return kind, int(number)
    return name, 0


def _parse_parts(stored: JSON, num_lossy: int, num_exact: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How many tensors each part has. Raises FormatError unless they add up to all."""
    if stored is None:
        return (num_lossy,) if num_lossy else (), (num_exact,) if num_exact else ()
    if not isinstance(stored, list) or len(stored) != 2 or not all(isinstance(counts, list) for counts in stored):
        raise FormatError("the header's parts are malformed")
    if any(type(count) is not int or count < 1 for counts in stored for count in counts):
        raise FormatError("the header's parts are malformed")
    if (sum(stored[0]), sum(stored[1])) != (num_lossy, num_exact):
        raise FormatError("the header's parts do not add up to its tensors")
    return tuple(stored[0]), tuple(stored[1])


def _parse_tensors(entries: JSON) -> tuple[tuple[TensorSpec, ...], frozenset[str]]:
    if not isinstance(entries, list) or not entries:
        raise FormatError("the header names no tensors")
    if len(entries) > MAX_TENSORS:
        raise LimitError(f"the file names {len(entries):,} tensors; at most {MAX_TENSORS:,} are allowed")
    specs = tuple(_parse_entry(entry) for entry in entries)
    if len({spec.name for spec in specs}) != len(specs):
        raise FormatError("the header names a tensor twice")
    exact = frozenset(spec.name for spec, entry in zip(specs, entries, strict=True) if len(entry) == 4)
    for spec in specs:
        if spec.name not in exact and dtype_of(spec.dtype) not in LOSSY_DTYPES:
            raise FormatError(f"tensor {spec.name!r} is marked as lossy, which {spec.dtype} cannot be")
    return specs, exact


def _parse_entry(entry: JSON) -> TensorSpec:
    if not isinstance(entry, list) or not 2 <= len(entry) <= 4 or entry[3:] not in ([], [1]):
        raise FormatError("the header describes a tensor in an unknown way")
    name, shape, dtype = entry[0], entry[1], entry[2] if len(entry) > 2 else _COMMON_DTYPE
    if not isinstance(name, str) or not isinstance(dtype, str) or not isinstance(shape, list):
        raise FormatError("the header describes a tensor in an unknown way")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise LimitError(f"tensor {_short_name(name)} has a name of more than {MAX_NAME_BYTES} bytes")
    if len(shape) > MAX_RANK:
        raise LimitError(f"tensor {_short_name(name)} has more than {MAX_RANK} dimensions")
    if any(type(size) is not int or size < 0 for size in shape) or not has_possible_size(shape):
        raise FormatError(f"tensor {_short_name(name)} has an impossible shape")
    dtype_of(dtype)
    return TensorSpec(name, tuple(shape), dtype)


def _short_name(name: str) -> str:
    """A tensor's name for a message of one line."""
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}...")


def _check_unicode(stored: Mapping[str, JSON]) -> None:
    """Raise FormatError where a string of the header is no text (JSON allows lone surrogates): no file could hold it."""
    try:
        json.dumps(stored, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"the header holds a name that is not valid Unicode: {error.object[error.start]!r}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the header cannot be read: {error}") from error


def is_number(value: object) -> bool:
    """Whether a value out of a header is a finite number."""
    # Not math.isfinite, which raises OverflowError on the huge integers that JSON allows.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _short(value: float) -> float:
    return float(f"{value:.4g}")
