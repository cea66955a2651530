"""Folders as Hugging Face's libraries write and read them, with the model in them as a .wz file.

    folder or hf:ORG/NAME --compress_pretrained--> folder with model.wz --restore_pretrained--> folder for `from_pretrained`

What is not the model (configuration, tokenizer, code, further modules in folders) is copied as it is, and never executed.
Other checkpoints beside it (the model in formats of other libraries, an optimizer's state) are left out; the result names
them. On the command line, `weightzip compress FOLDER` and `weightzip compress hf:ORG/NAME` make a .wz file of the model alone.

    >>> import json, torch, weightzip.hub
    >>> from pathlib import Path
    >>> from safetensors.torch import save_file
    >>> Path("bert").mkdir()
    >>> _ = Path("bert/config.json").write_text(json.dumps({"model_type": "bert"}))
    >>> save_file({"pooler.weight": torch.randn(64, 64)}, "bert/model.safetensors", {"format": "pt"})
    >>> packed = weightzip.hub.compress_pretrained("bert", "bert-wz")
    >>> sorted(path.name for path in packed.folder.iterdir())
    ['config.json', 'model.wz']
    >>> sorted(path.name for path in weightzip.hub.restore_pretrained("bert-wz", "bert-again").iterdir())
    ['config.json', 'model.safetensors']
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from weightzip import checkpoint as checkpoints
from weightzip import restoring
from weightzip.api import compress
from weightzip.errors import CheckpointError, OutputError, UnsupportedCheckpointError, UsageError
from weightzip.folders import replaced_folder
from weightzip.progress import Progress, silent
from weightzip.remote import PREFIX, Repository, Snapshot, download, fetched
from weightzip.restoring import Opened
from weightzip.summary import Summary
from weightzip.threads import limited_threads

__all__ = ["Packed", "compress_pretrained", "fetched", "from_pretrained", "restore_pretrained"]

MODEL = "model.wz"
_MODEL_SUFFIXES = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot", ".gguf", ".tflite", ".npz"),
    *(".safetensors.index.json", ".bin.index.json", ".h5.index.json", ".msgpack.index.json"),
)
_EXPORTS = (".onnx", ".onnx_data", ".onnx.data", ".mlpackage", ".mlmodel")
_EXPORT_FOLDERS = ("onnx", "openvino", "coreml", "tensorrt")
_OWN = {"output", "force", "dry_run"}  # options of `compress` that make no sense for a folder

T_co = TypeVar("T_co", covariant=True)


class Pretrained(Protocol[T_co]):
    """What Hugging Face's libraries have: a class such as transformers' AutoModel."""

    def from_pretrained(self, folder: str, /, *args: Any, **kwargs: Any) -> T_co:
        """Read a model from a folder."""


@dataclass(frozen=True)
class Packed:
    """A folder with a model.wz in it.

    summary: what model.wz holds. left_out: files and folders of the source that the folder does not hold.
    """

    folder: Path
    summary: Summary
    left_out: tuple[str, ...]


def compress_pretrained(source: str | Path, folder: str | Path, *, progress: Progress = silent, **options: Any) -> Packed:
    """Make a new folder of a pretrained model's, with model.wz in the place of its weights.

    source: a folder with the model's .safetensors file, shards or pytorch_model.bin at its top, or hf:ORG/NAME[@REVISION].
    folder: must not be there yet, or be empty; it appears whole or not at all. options: of `weightzip.compress`, such as
    ratio, max_error or lossless.
    Links to files are followed within the folder and into the hub's cache, and the model's own files may lie anywhere; hidden
    folders are left out.
    Raises a WeightzipError; then nothing is written.
    """
    if odd := sorted(_OWN & options.keys()):
        raise UsageError(f"compress_pretrained takes no option {odd[0]!r}; the options are those of a target, a codec, a task")
    target = _new_folder(folder)
    snapshot, left_out = _remote(str(source)) if str(source).startswith(PREFIX) else _local(Path(source))
    weights = _weights(snapshot)
    others = [name for name in snapshot.files if name not in weights]
    if MODEL in others:
        raise CheckpointError(f"{source}: holds a {MODEL} already; `restore_pretrained` restores it")
    with replaced_folder(target, may_go=_nothing_may_go) as staging, snapshot.named() as path:
        summary = compress(path, staging / MODEL, progress=progress, **options)
        _copy(snapshot.folder, others, staging)
    summary["input"], summary["output"] = str(source), str(target / MODEL)
    return Packed(target, summary, tuple(left_out))


def restore_pretrained(
    source: str | Path,
    folder: str | Path,
    *,
    memory: int | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> Path:
    """Make a new folder that `from_pretrained` reads, of one that `compress_pretrained` made; returns it.

    folder: must not be there yet, or be empty; it appears whole or not at all. memory: bytes that decoding may allocate.
    The source may come from a stranger: nothing in it is executed, links are refused, and no name in the .wz file leads out
    of the folder. (Code that a model brings is copied; whether it runs is up to `trust_remote_code`.)
    Raises a WeightzipError; then nothing is written.
    """
    home, target = Path(source), _new_folder(folder)
    names, _ = _walk(home, follow=False)
    if MODEL not in names:
        raise CheckpointError(f"{home}: holds no {MODEL}; name a folder that `compress_pretrained` made")
    others = [name for name in names if name != MODEL]
    with (
        limited_threads(threads),
        restoring.opened(home / MODEL) as file,
        replaced_folder(target, may_go=_nothing_may_go) as staging,
    ):
        _copy(home, others, staging)
        _restore(file, staging, memory, progress)
    return target


def from_pretrained(cls: Pretrained[T_co], source: str | Path, **options: Any) -> T_co:
    """`cls.from_pretrained` for a folder that `compress_pretrained` made, which is restored to a temporary one for it.

    cls: such as transformers' AutoModel; a tokenizer needs no such help, as its files are in the folder as they were.
    options: passed on to it.
    Raises a WeightzipError where the folder cannot be restored, and what `cls.from_pretrained` raises.
    """
    with tempfile.TemporaryDirectory(prefix="weightzip-", ignore_cleanup_errors=True) as scratch:
        folder = restore_pretrained(source, Path(scratch) / (Path(source).resolve().name or "model"))
        return cls.from_pretrained(str(folder), **options)


def _new_folder(folder: str | Path) -> Path:
    """Raise OutputError where there is something already."""
    target = Path(folder)
    with contextlib.suppress(OSError):  # what is in the way will be told when the folder is made
        if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
            raise OutputError(f"{target}: exists already; name a new folder")
    return target


def _nothing_may_go(_: Path) -> bool:
    return False


def _remote(source: str) -> tuple[Snapshot, Sequence[str]]:
    """The snapshot with all files that belong to the model's folder, and the names of the others."""
    if Repository.parse(source).file is not None:
        raise UsageError(f"{source}: a folder is made of a whole repository; leave the file's name out")
    left_out: list[str] = []

    def others(names: Sequence[str]) -> Iterable[str]:
        kept, rest = _sorted(names)
        left_out.extend(rest)
        return kept

    snapshot = download(source, others)
    return snapshot, [name for name in left_out if name not in snapshot.files]


def _local(folder: Path) -> tuple[Snapshot, Sequence[str]]:
    """A folder as if it were a snapshot. Raises CheckpointError where there is no model at its top."""
    names, hidden = _walk(folder, follow=True)
    main = checkpoints.main_file(name for name in names if "/" not in name)
    if main is None:
        raise CheckpointError(f"{folder}: holds no model.safetensors, index of shards or pytorch_model.bin")
    kept, rest = _sorted(names)
    for name in kept:
        _check_link(folder, name)
    snapshot = Snapshot(folder, folder.resolve().name or "model", main, (main, *kept))
    weights = _weights(snapshot)
    return snapshot, [*hidden, *(name for name in rest if name not in weights)]


def _check_link(folder: Path, name: str) -> None:
    """Raise UnsupportedCheckpointError for a link to what may be private, which a stranger's folder may hold; copies spread."""
    path, home = folder / name, folder.resolve()
    blobs = home.parent.parent / "blobs"  # where the hub's cache has the files of all snapshots
    if path.is_symlink() and not any(path.resolve().is_relative_to(place) for place in (home, blobs)):
        raise UnsupportedCheckpointError(f"{path}: is a link that leads out of the folder; put there what it leads to")


def _weights(snapshot: Snapshot) -> set[str]:
    """The files that model.wz takes the place of."""
    index = snapshot.folder / snapshot.main
    if not snapshot.main.endswith(checkpoints.INDEX_SUFFIX):
        return {snapshot.main}
    return {snapshot.main, *(str(PurePosixPath(snapshot.main).with_name(name)) for name in checkpoints.shard_names(index))}


def _sorted(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Files to copy, and those that are the model itself, in whatever format."""
    kept: list[str] = []
    rest: list[str] = []
    for name in names:
        top, *below = name.split("/")
        export = name.endswith(_EXPORTS) or (bool(below) and top in _EXPORT_FOLDERS)
        hidden = any(part.startswith(".") for part in name.split("/")[:-1])
        own = not below and name.endswith(_MODEL_SUFFIXES)
        (rest if export or hidden or own else kept).append(name)
    return kept, rest


def _walk(folder: Path, *, follow: bool) -> tuple[list[str], list[str]]:
    """The names of all files in a folder, relative to it and with "/", and of the hidden folders that are left out.

    follow: whether a link to a file counts as one. Raises CheckpointError where the folder cannot be read, or holds a link
    that does not count, or anything else that is neither a file nor a folder.
    """
    files: list[str] = []
    hidden: list[str] = []
    for entry in _entries(folder):
        if entry.is_symlink() and not (follow and entry.is_file()):
            raise UnsupportedCheckpointError(f"{entry.path}: is a link, which is not followed; put there what it leads to")
        if entry.is_dir():
            if entry.name.startswith("."):
                hidden.append(f"{entry.name}/")
                continue
            below, hidden_below = _walk(Path(entry.path), follow=follow)
            files += [f"{entry.name}/{name}" for name in below]
            hidden += [f"{entry.name}/{name}" for name in hidden_below]
        elif entry.is_file():
            files.append(entry.name)
        else:
            raise UnsupportedCheckpointError(f"{entry.path}: is neither a file nor a folder; remove it")
    return files, hidden


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{folder}: cannot be read: {reason}; name a pretrained model's folder") from error


def _copy(folder: Path, names: Iterable[str], target: Path) -> None:
    """Raises CheckpointError where a file cannot be read, OSError where one cannot be written."""
    for name in names:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(folder / name, place)
        except OSError as error:
            if error.filename != str(folder / name):
                raise
            raise CheckpointError(f"{folder / name}: cannot be read: {error.strerror}; change that, or remove it") from error


def _restore(file: Opened, folder: Path, memory: int | None, progress: Progress) -> None:
    """Put the model's file, or its shards and their index, into a folder that holds the other files."""
    for path in _restored(file, folder, memory, progress):
        if os.path.lexists(folder / path.name):
            raise CheckpointError(f"{file.path.parent}: holds {path.name}, which {MODEL} restores to as well; remove one")
        path.rename(folder / path.name)


def _restored(file: Opened, folder: Path, memory: int | None, progress: Progress) -> Iterator[Path]:
    """The files, from a folder of their own within this one."""
    with tempfile.TemporaryDirectory(prefix=".weightzip-", dir=folder) as scratch:
        home = Path(scratch) / "model"
        if file.header.layout.format == "shards":
            restoring.write(file, home, None, memory, False, progress)
        else:
            home.mkdir()
            restoring.write(file, home / _file_name(file), None, memory, False, progress)
        yield from sorted(home.iterdir())


def _file_name(file: Opened) -> str:
    """What the one file is called: as in the source, if that is the name of such a file."""
    layout = file.header.layout
    name = checkpoints.default_output(layout)
    suffixes = (".safetensors",) if layout.format == "safetensors" else (".bin", ".pt", ".pth", ".ckpt")
    usual = "model.safetensors" if layout.format == "safetensors" else "pytorch_model.bin"
    return name if name.endswith(suffixes) else usual
