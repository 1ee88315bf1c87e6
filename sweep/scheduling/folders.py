"""Folders for files that outlive the driver: a path, or wherever fsspec reaches.

A name is written once, so that nothing need be replaced: not every place can do that at once.
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from trainer.rules import ConfigError, Problem

SCHEME = "://"
FIELD = "storage"
"""The field of a study file that names such a place."""


class FolderError(OSError):
    """What a place of fsspec's raises, whatever that is."""


class Folder(Protocol):
    """A folder of files, which need not exist.

    Raises:
        OSError: from every method, where the folder can't be read or written at present.
    """

    def names(self) -> list[str]:
        """The files in it."""

    def written(self, name: str) -> Any:
        """A context with the path of a file here; at its end that file is in the folder."""

    def fetched(self, name: str) -> Any:
        """A context with the path of a file here that holds what is in the folder.

        Raises:
            FileNotFoundError: there is no such file.
        """

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""

    def discard(self) -> None:
        """Removes the folder with all that is in it."""


class LocalFolder:
    """A folder that has a path. Who writes a file replaces it at once (`trainer.checkpoint`)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        """The files in it."""
        return [each.name for each in self._path.iterdir()] if self._path.is_dir() else []

    @contextmanager
    def written(self, name: str) -> Iterator[Path]:
        """The path of the file itself."""
        self._path.mkdir(parents=True, exist_ok=True)
        yield self._path / name

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """The path of the file itself."""
        with (self._path / name).open("rb"):  # a file that can't be read is none that is broken
            yield self._path / name

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        (self._path / name).unlink(missing_ok=True)

    def discard(self) -> None:
        """Removes the folder with all that is in it."""
        if self._path.exists():
            shutil.rmtree(self._path)


class RemoteFolder:
    """A folder at a URL that fsspec knows, such as `s3://bucket/states`; threads may share it.

    Raises:
        ImportError: fsspec, or what it needs for this scheme, is not installed.
        ValueError: it knows no such scheme.
        Exception: whatever else making a client of such a place raises.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self._url = url
        self._path = fsspec.core.url_to_fs(url)[1].rstrip("/")
        self._made = False

    @property
    def _files(self) -> Any:
        """The client of this thread: fsspec keeps one for each where a client can't be shared.

        Its listings are forgotten, since other threads or an earlier driver may have written there.
        """
        import fsspec

        files, _ = fsspec.core.url_to_fs(self._url)
        files.invalidate_cache()
        return files

    def names(self) -> list[str]:
        """The files in it."""
        with _told():
            try:
                found = self._files.ls(self._path, detail=False)
            except FileNotFoundError:
                return []
            return [each.rstrip("/").rpartition("/")[2] for each in found]

    @contextmanager
    def written(self, name: str) -> Iterator[Path]:
        """The path of a draft, which is uploaded."""
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder) / name
            yield draft
            with _told():
                files = self._files
                if not self._made:
                    files.makedirs(self._path, exist_ok=True)
                    self._made = True
                files.put_file(str(draft), self._at(name))

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """The path of a copy."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / name
            with _told():
                self._files.get_file(self._at(name), str(copy))
            yield copy

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with _told():
            try:
                self._files.rm_file(self._at(name))
            except FileNotFoundError:
                return

    def discard(self) -> None:
        """Removes the folder with all that is in it."""
        with _told():
            try:
                self._made = False
                self._files.rm(self._path, recursive=True)
            except FileNotFoundError:  # what has no folders has none that is empty
                return

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"


@contextmanager
def _told() -> Iterator[None]:
    """Turns whatever a place raises into one error, but that a file is not there."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # each scheme has errors of its own
        text = str(error).strip() or type(error).__name__
        raise FolderError(f"{type(error).__name__}: {text.splitlines()[0]}") from error


def kept_as(study: str, identity: str) -> str:
    """The name of a study's folder in a storage, which other studies of its name may share."""
    return f"{study}-{identity}"


def folder(storage: str, name: str) -> Folder:
    """The folder `name` in a storage, a path or a URL.

    Raises:
        ConfigError: no such place can be used; the field `storage` is named.
    """
    if SCHEME not in storage:
        return LocalFolder(Path(storage).expanduser() / name)
    try:
        return RemoteFolder(f"{storage.rstrip('/')}/{name}")
    except ImportError as error:
        rule = f"needs a package that is not installed ({error}); fsspec is in the extra `storage`"
        raise ConfigError([Problem(FIELD, rule, storage)]) from None
    except Exception as error:  # each scheme has errors of its own
        known = "must be a path or a URL that fsspec knows"
        rule = f"{known if isinstance(error, ValueError) else 'cannot be reached'}: {error}"
        raise ConfigError([Problem(FIELD, rule, storage)]) from None


def prove(storage: str) -> None:
    """Makes sure that a storage can be written and read, with a small file that it removes.

    Raises:
        ConfigError: it can't be.
    """
    name = f"probe-{uuid.uuid4().hex}"
    place = folder(storage, name)
    try:
        with place.written("probe") as path:
            path.write_text(name, encoding="ascii")
        with place.fetched("probe") as path:
            found = path.read_text(encoding="ascii")
        place.discard()
    except OSError as error:
        rule = f"cannot be written: {error.strerror or error}"
        raise ConfigError([Problem(FIELD, rule, storage)]) from None
    if found != name:
        raise ConfigError([Problem(FIELD, "does not give back what was written", storage)])
