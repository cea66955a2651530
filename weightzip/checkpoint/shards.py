"""A folder of sharded safetensors, without its tensors: which file holds which, and the index beside them.

The tensors of a sharded checkpoint follow each other shard by shard, so that a count per shard says where each one is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from weightzip.checkpoint.places import MAX_DEPTH
from weightzip.checkpoint.tree import json_depth
from weightzip.errors import FormatError
from weightzip.interface import JSON

INDEX_SUFFIX = ".safetensors.index.json"
SHARD_SUFFIX = ".safetensors"
WEIGHT_MAP = "weight_map"  # the field of an index that says which file holds a tensor
MAX_SHARDS = 1 << 16
_MAX_NAME_BYTES = 255
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:<>"|?*\ud800-\udfff]')


def is_shard_file(path: Path) -> bool:
    """Whether a file is, by its name, a part of a sharded checkpoint: a shard, or the index."""
    return path.name.endswith((SHARD_SUFFIX, INDEX_SUFFIX)) and not path.is_dir()


@dataclass(frozen=True)
class Shard:
    """One file: its name, how many tensors it holds, and the metadata in its header."""

    name: str
    num_tensors: int
    metadata: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Shards:
    """All files of a sharded checkpoint.

    index: the name of the index file. rest: all that it says besides where the tensors are, as the text of a JSON object.
    """

    index: str
    rest: str
    files: tuple[Shard, ...]

    @property
    def num_tensors(self) -> int:
        """Of all files."""
        return sum(shard.num_tensors for shard in self.files)

    def split(self, keys: Iterable[str]) -> list[tuple[Shard, list[str]]]:
        """The keys of a checkpoint, shard by shard. Raises FormatError where they are not as many as the shards hold."""
        rest = list(keys)
        if len(rest) != self.num_tensors:
            raise FormatError(f"layout: shards of {self.num_tensors} tensors, where there are {len(rest)}")
        parts, start = [], 0
        for shard in self.files:
            parts.append((shard, rest[start : start + shard.num_tensors]))
            start += shard.num_tensors
        return parts

    def index_of(self, keys: Iterable[str]) -> JSON:
        """The index file's JSON for tensors of these keys, in order."""
        places = {key: shard.name for shard, part in self.split(keys) for key in part}
        return {**json.loads(self.rest), WEIGHT_MAP: places}

    def to_json(self) -> JSON:
        """As stored: [index, rest, [name, number of tensors], [name, number of tensors, metadata], ...]."""
        files = [
            [shard.name, shard.num_tensors] + ([dict(shard.metadata)] if shard.metadata is not None else [])
            for shard in self.files
        ]
        return [self.index, self.rest, *files]

    @classmethod
    def from_json(cls, obj: JSON) -> Shards:
        """What `to_json` wrote. Raises FormatError for anything else."""
        if not isinstance(obj, list) or len(obj) < 3 or not all(isinstance(text, str) for text in obj[:2]):
            raise FormatError("layout: malformed shards")
        if len(obj) - 2 > MAX_SHARDS:
            raise FormatError(f"layout: {len(obj) - 2} shards; at most {MAX_SHARDS} are allowed")
        shards = cls(obj[0], obj[1], tuple(_shard(entry) for entry in obj[2:]))
        if not is_plain_name(shards.index, INDEX_SUFFIX):
            raise FormatError("layout: the index of the shards is no plain file name")
        if clash := clashing_name(shard.name for shard in shards.files):
            raise FormatError(f"layout: two shards called {clash!r}")
        _check_rest(shards.rest)
        return shards


def is_plain_name(name: str, suffix: str) -> bool:
    """Whether a file name has this suffix, and nothing in it that leads out of its folder or that some system forbids.

    >>> is_plain_name("model-1.safetensors", ".safetensors"), is_plain_name("../x.safetensors", ".safetensors")
    (True, False)
    """
    return (
        name.endswith(suffix)
        and name != suffix
        and not name.startswith(".")
        and not _UNSAFE.search(name)
        and len(name.encode()) <= _MAX_NAME_BYTES
    )


def clashing_name(names: Iterable[str]) -> str | None:
    """A name that appears twice, be it in other letter cases, which some systems do not tell apart; None if none does."""
    met: set[str] = set()
    for name in names:
        if name.casefold() in met:
            return name
        met.add(name.casefold())
    return None


def _shard(entry: JSON) -> Shard:
    if not isinstance(entry, list) or not 2 <= len(entry) <= 3:
        raise FormatError("layout: malformed shard")
    name, num_tensors, metadata = (*entry, None)[:3]
    if not isinstance(name, str) or not is_plain_name(name, SHARD_SUFFIX):
        raise FormatError("layout: a shard's name is no plain file name")
    if type(num_tensors) is not int or num_tensors < 1:
        raise FormatError("layout: a shard without tensors")
    if len(entry) == 3 and not is_text_map(metadata):
        raise FormatError("layout: a shard's metadata maps strings to strings")
    return Shard(name, num_tensors, metadata)


def is_text_map(value: JSON) -> bool:
    """Whether JSON is an object whose values are strings."""
    return isinstance(value, dict) and all(isinstance(part, str) for item in value.items() for part in item)


def _check_rest(text: str) -> None:
    try:
        rest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"layout: the index of the shards is no JSON: {error}") from error
    if not isinstance(rest, dict) or WEIGHT_MAP in rest or json_depth(rest) > MAX_DEPTH:
        raise FormatError("layout: malformed index of the shards")
