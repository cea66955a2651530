"""Models of Hugging Face's hub, by the download code of its library and into the hub's own cache.

    hf:ORG/NAME            the model of a repository: .safetensors, whole or in shards, else pytorch_model.bin
    hf:ORG/NAME@REVISION   as of a branch, a tag or a commit
    hf:ORG/NAME/FILE       one file, or one index of shards, of a repository that holds several

What the cache holds already is used where there is no network. Nothing that is downloaded is executed.
"""

from __future__ import annotations

import contextlib
import glob
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from weightzip import checkpoint as checkpoints
from weightzip.errors import CheckpointError, UsageError, WeightzipError

PREFIX = "hf:"
REMEDY = "connect to the network, or give a local folder"
_LOG_IN = "log in with `hf auth login`"
_PATIENCE = 10.0  # seconds that the hub may take to answer
_SUFFIXES = (".safetensors", checkpoints.INDEX_SUFFIX, ".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Repository:
    """What `hf:...` names. file: of the repository, with "/"; by default its model. revision: by default the newest."""

    id: str
    file: str | None
    revision: str | None

    @staticmethod
    def parse(source: str) -> Repository:
        """Take `hf:ORG/NAME@REVISION` or `hf:ORG/NAME/FILE@REVISION` apart. Raises UsageError for anything else.

        >>> Repository.parse("hf:org/name/unet/model.safetensors@v1")
        Repository(id='org/name', file='unet/model.safetensors', revision='v1')
        """
        path, at, revision = source.removeprefix(PREFIX).partition("@")
        parts = path.split("/")
        if not all(parts) or (at and not revision) or ".." in parts:
            raise UsageError(f"{source}: names no repository; write hf:ORG/NAME or hf:ORG/NAME@REVISION")
        return Repository("/".join(parts[:2]), "/".join(parts[2:]) or None, revision or None)

    @property
    def name(self) -> str:
        """Without who it belongs to."""
        return self.id.rpartition("/")[2]


@dataclass(frozen=True)
class Snapshot:
    """Files of a repository, in the hub's cache.

    folder: what holds them. name: of the repository. main: the model's file, or its index of shards. files: all that are
    there for sure, main and shards among them; relative to the folder, with "/".
    """

    folder: Path
    name: str
    main: str
    files: tuple[str, ...]

    @contextlib.contextmanager
    def named(self) -> Iterator[Path]:
        """The model's file; of shards a folder of links that has the repository's name.

        The snapshot itself is called by a commit, and what a folder is called it is also restored to.
        """
        index = self.folder / self.main
        if not self.main.endswith(checkpoints.INDEX_SUFFIX):
            yield index
            return
        with tempfile.TemporaryDirectory(prefix="weightzip-") as scratch:
            home = Path(scratch) / self.name
            home.mkdir()
            try:
                for name in (index.name, *checkpoints.shard_names(index)):
                    (home / name).symlink_to((index.parent / name).resolve())
            except OSError:  # not every system lets everybody make links
                home = index
            yield home


def _nothing(_: Sequence[str]) -> Iterable[str]:
    return ()


def download(source: str, others: Callable[[Sequence[str]], Iterable[str]] = _nothing) -> Snapshot:
    """The model that `hf:...` names, in the hub's cache, downloaded where it is not there yet.

    others: of the names of all files in the repository, those that are wanted besides.
    Raises UsageError for a name that makes no sense and where huggingface_hub is not installed, CheckpointError where the
    model is neither here nor to be had.
    """
    repository = Repository.parse(source)
    with _told(source):
        names, offline = _listed(repository)
        _check_inside(source, names)
        main = _main_file(source, repository, names)
        files = [main, *(name for name in others(names) if name != main)]
        folder = _snapshot(repository, files, offline)
        if main.endswith(checkpoints.INDEX_SUFFIX) and (folder / main).is_file():
            shards = [str(PurePosixPath(main).with_name(name)) for name in checkpoints.shard_names(folder / main)]
            _snapshot(repository, shards, offline)
            files += [name for name in shards if name not in files]
        for name in files:
            if not (folder / name).is_file():
                raise CheckpointError(f"{source} cannot be downloaded: its {name} is not to be had; {REMEDY}")
    return Snapshot(folder, repository.name, main, tuple(files))


def _listed(repository: Repository) -> tuple[list[str], bool]:
    """The names of all files, and whether they are those of the cache, as the hub does not answer."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RevisionNotFoundError

    try:
        found = HfApi().model_info(repository.id, revision=repository.revision, timeout=_PATIENCE)
        return [file.rfilename for file in found.siblings or ()], False
    except (HFValidationError, RevisionNotFoundError):
        raise
    except Exception as error:  # of the network library's own, which is not the same in all versions
        try:
            path = snapshot_download(repository.id, revision=repository.revision, local_files_only=True, allow_patterns=[])
        except LocalEntryNotFoundError:
            raise error from None
        folder = Path(path)
        return [entry.relative_to(folder).as_posix() for entry in sorted(folder.rglob("*")) if entry.is_file()], True


def _check_inside(source: str, names: Iterable[str]) -> None:
    """Raise CheckpointError where the name of a file leads out of the folder that it is to be in."""
    for name in names:
        if ".." in name.replace("\\", "/").split("/") or Path(name).is_absolute():
            raise CheckpointError(f"{source}: holds {name!r}, a name that leads elsewhere; name another repository")


def _snapshot(repository: Repository, names: Sequence[str], offline: bool) -> Path:
    """The snapshot's folder, with the files of these names in it, as far as they are to be had."""
    from huggingface_hub import snapshot_download

    patterns = [glob.escape(name) for name in names]
    return Path(
        snapshot_download(repository.id, revision=repository.revision, local_files_only=offline, allow_patterns=patterns)
    )


def _main_file(source: str, repository: Repository, names: Sequence[str]) -> str:
    """The model's file among all of a repository. Raises CheckpointError where there is none, or not just one."""
    found = repository.file or checkpoints.main_file(name for name in names if "/" not in name)
    if found is not None and found in names:
        return found
    candidates = [name for name in names if name.endswith(_SUFFIXES)]
    what = f"no file {found}" if found is not None else "no model.safetensors, index of shards or pytorch_model.bin"
    hint = (
        f"name one of its files, such as {PREFIX}{repository.id}/{candidates[0]}" if candidates else "name another repository"
    )
    raise CheckpointError(f"{source}: holds {what}; {hint}")


@contextlib.contextmanager
def _told(source: str) -> Iterator[None]:
    """Turn whatever the library raises within the block into one line: what, why, and what to do about it."""
    try:
        from huggingface_hub.errors import (
            GatedRepoError,
            HFValidationError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError as error:
        raise UsageError(f"{source}: needs huggingface_hub, which is not there; pip install 'weightzip[hub]'") from error
    try:
        yield
    except WeightzipError:
        raise
    except HFValidationError as error:
        raise UsageError(f"{source}: names no repository: {first_line(error)}") from error
    except GatedRepoError as error:  # a RepositoryNotFoundError as well
        raise CheckpointError(f"{source}: is gated; accept its terms on the hub's page of it, then {_LOG_IN}") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"{source}: no such repository, or a private one; check the name, or {_LOG_IN}") from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{source}: the repository has no such revision; check the name after the @") from error
    except Exception as error:  # of the network library's own, which is not the same in all versions
        raise CheckpointError(f"{source} cannot be downloaded: {first_line(error)}; {REMEDY}") from error


def first_line(error: BaseException) -> str:
    """What an error says, without what else it tells in further lines."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
