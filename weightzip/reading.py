"""A .wz file that stays open: names, shapes and dtypes at once, a tensor when it is asked for.

    open --header--> Reader --get_tensor--> the part that holds it is decoded, and kept until another one is needed

The tensors of a part are coded together, so that one of them takes nearly as long as all; a part has at most 16 million
weights, or one larger tensor. Whoever reads tensors in the order of the file has each part decoded once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from weightzip import restoring
from weightzip.checkpoint import dtype_name, dtype_of
from weightzip.codec import check_one, naming
from weightzip.errors import UsageError
from weightzip.summary import Summary
from weightzip.threads import limited_threads

if TYPE_CHECKING:
    from weightzip.checkpoint import Location


def open(path: str | Path, *, memory: int | None = None, threads: int | None = None) -> Reader:
    """Open a .wz file for reading tensor by tensor; only its header is read.

    memory: bytes that reading a tensor may allocate; by default as many as the machine has. threads: that decode; by default
    as many as torch uses.
    Raises FormatError, DamagedFileError or LimitError for a header that is wrong, WeightzipError where there is no such file.

    >>> import torch, weightzip
    >>> _ = weightzip.compress({"fc.weight": torch.ones(8, 4), "fc.bias": torch.zeros(8)}, "open.wz", force=True)
    >>> with weightzip.open("open.wz") as file:
    ...     print(file.keys(), file.shape("fc.weight"), file.get_tensor("fc.bias").sum())
    ['fc.weight', 'fc.bias'] (8, 4) tensor(0.)
    """
    return Reader(Path(path), memory, threads)


class Reader:
    """The tensors of an open .wz file, by their keys in the model's state dict, in the source's order; made by `open`.

    The same bits as `restore` gives, but each tensor in a memory of its own: what is done to one changes no other, not even
    one that is tied to it. Tensors that are no part of the model's state dict, such as an optimizer's, go by the names that
    `info` lists; `keys` and its like leave them out.

    Open until `close`, or until the `with` block ends; then every use raises UsageError. Several threads may share a reader:
    they decode one after the other. Processes may not: open the file in each.
    """

    def __init__(self, path: Path, memory: int | None, threads: int | None) -> None:
        self._path, self._memory, self._threads = path, memory, threads
        self._start = time.monotonic()
        self._lock = threading.RLock()
        self._kept: dict[str, Tensor] = {}  # the tensors of the part that was decoded last, by their names in the file
        with limited_threads(threads), contextlib.ExitStack() as opening:
            file = opening.enter_context(restoring.opened(path))
            self._homes = {spec.name: (part, spec) for part in file.header.parts for spec in part.specs}
            self._file: restoring.Opened | None = file
            self._closing = opening.pop_all()

    def keys(self) -> list[str]:
        """All names, in order."""
        return list(self._opened().places)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._opened().places)

    def __contains__(self, name: object) -> bool:
        return name in self._opened().places

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """All names with their tensors, each decoded when it is its turn."""
        for name in self.keys():
            yield name, self.get_tensor(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one tensor, which is not decoded. Raises UsageError where there is none of that name."""
        return self._place(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """Of one tensor, which is not decoded. Raises UsageError where there is none of that name."""
        _, spec = self._homes[self._place(name).base]
        return dtype_of(spec.dtype)

    def get_tensor(self, name: str) -> Tensor:
        """One tensor, on the CPU.

        Raises UsageError where there is none of that name, DamagedFileError where what it is made of does not match its hash,
        LimitError where it takes more memory than allowed; other tensors can be read all the same.
        """
        with self._lock, limited_threads(self._threads):
            file, place = self._opened(), self._place(name)
            return file.view(self._stored(file, place.base), place, self._memory)

    def __getitem__(self, name: str) -> Tensor:
        """`get_tensor`, so that `dict(reader)` is a state dict."""
        return self.get_tensor(name)

    def get_slice(self, name: str) -> Slice:
        """One tensor to take parts of; it is decoded when the first part is taken. Raises UsageError if there is none."""
        self._place(name)
        return Slice(self, name)

    def metadata(self) -> dict[str, str]:
        """What the .safetensors file that this one was made from says of itself, shards one after the other; else nothing."""
        layout = self._opened().header.layout
        of_shards = [shard.metadata for shard in layout.shards.files] if layout.shards is not None else []
        return {key: text for metadata in (layout.metadata, *of_shards) for key, text in (metadata or {}).items()}

    def info(self) -> Summary:
        """What `weightzip.info` says, as far as the header tells: not what each tensor takes, nor whether hashes are right."""
        return self._opened().outline(self._start)

    def copied(self, tensor: Tensor) -> Tensor:
        """A tensor in a memory of its own. Raises LimitError where that is more than allowed, as for what was expanded."""
        with naming(str(self._path)):
            check_one(tensor.nbytes, self._memory)
        return tensor.clone()

    def close(self) -> None:
        """Let go of the file and of the part that is kept; a second time does nothing."""
        with self._lock:
            self._file, self._kept = None, {}
            self._closing.close()

    def __enter__(self) -> Reader:
        self._opened()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._file is None else f"{len(self)} tensors"
        return f"<weightzip.Reader {str(self._path)!r}, {state}>"

    def _stored(self, file: restoring.Opened, name: str) -> Tensor:
        """A tensor by its name in the file, in a memory of its own."""
        if name not in self._kept:
            self._kept = {}  # before the next part takes memory
            part, _ = self._homes[name]
            tensors = file.stored(frozenset(spec.name for spec in part.specs), self._memory)
            if len(tensors) == 1:  # which then is all that takes memory; large tensors often are parts of their own
                return tensors[name]
            with naming(str(self._path)):
                check_one(part.tensor_bytes + tensors[name].nbytes, self._memory)
            self._kept = tensors
        tensor = self._kept[name]
        # By its bytes, as torch warns of what it does with dtypes in trial.
        return tensor.reshape(-1).view(torch.uint8).clone().view(tensor.dtype).reshape(tensor.shape)

    def _opened(self) -> restoring.Opened:
        if self._file is None:
            raise UsageError(f"{self._path}: is closed; open it again with weightzip.open")
        return self._file

    def _place(self, name: str) -> Location:
        return self._opened().place(name)


class Slice:
    """One tensor of a `Reader`, of which parts are taken: `reader.get_slice("fc.weight")[:10, 3]`.

    Decoded at the first part that is taken, then kept for as long as this object is.
    """

    def __init__(self, reader: Reader, name: str) -> None:
        self._reader, self._name = reader, name
        self._tensor: Tensor | None = None

    def get_shape(self) -> list[int]:
        """Of the whole tensor."""
        return list(self._reader.shape(self._name))

    def get_dtype(self) -> str:
        """As `info` says it, such as "float32"."""
        return dtype_name(self._reader.dtype(self._name))

    def __getitem__(self, index: Any) -> Tensor:
        """What indexing the tensor gives, in a memory of its own. Raises as `Reader.get_tensor`, IndexError as torch does."""
        if self._tensor is None:
            self._tensor = self._reader.get_tensor(self._name)
        return self._reader.copied(self._tensor[index])
