"""What travels to a cluster's head with a job: this code, the study file, and its files if small.

These are the data, and models to start from, whose path is relative.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import sweep
import trainer
from sweep.spec.places import START, beside, models, relative, renamed
from sweep.spec.study import Study
from sweep.spec.study_file import assign, dump
from trainer.rules import ConfigError, Problem
from trainer.sources import SOURCES

STUDY = "study.yaml"
DATA = "data"
"""The folder with the files of a study, beside the study file."""

TABLES = ("csv", "parquet")
"""The kinds of sources whose path ends in #COLUMN."""

LARGEST = 90 * 2**20
"""The most bytes of files that travel: Ray's Jobs take packages of 100 MiB, the code in it."""


def travels(study: Study) -> None:
    """Checks that the head will have all that a study names.

    Args:
        study: with its paths as they are written.

    Raises:
        ConfigError: it names what the head can't read, and that does not travel.
    """
    problems = []
    if study.trainer is not None:
        rule = (
            "does not travel to a cluster's head: it is code of one's own; join with run --address"
        )
        problems.append(Problem("trainer", rule, study.trainer))
    if study.data.source.partition(":")[0] not in SOURCES:
        rule = "code of one's own does not travel to a cluster; write the arrays to an npz: file"
        problems.append(Problem("data.source", rule, study.data.source))
    for name in study.starts():
        if name.startswith("~"):
            rule = "must be relative, to travel to the cluster's head, or absolute there"
            problems.append(Problem(f"{START}.source", rule, name))
    if study.storage is not None and "://" not in study.storage and study.storage[0] != "/":
        rule = "is written on the cluster's head, so it must be absolute there, or a URL"
        problems.append(Problem("storage", rule, study.storage))
    if problems:
        raise ConfigError(problems)


def pack(folder: Path) -> None:
    """Puts the code into a folder."""
    for package in (sweep, trainer):
        source = Path(package.__path__[0])
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / source.name, ignore=ignored)


def pack_study(folder: Path, written: Study, here: Study) -> bool:
    """Puts a study file into a folder, and the files that it names by relative paths.

    Args:
        folder: where to.
        written: the study with its paths as they are written.
        here: the study with paths that are good here.

    Returns:
        Whether there are such files.

    Raises:
        ConfigError: a file is not there, or they are too large to travel.
    """
    values, packed = dict(written.values), _Parcel(folder)
    if (given := relative(written.data.source)) is not None:
        kind, _, place = here.data.source.partition(":")
        path, mark, column = place.rpartition("#") if kind in TABLES else (place, "", "")
        if kind in TABLES and not all(given.rpartition("#")):
            rule = "must name a file and, after #, the column of the labels"
            raise ConfigError([Problem("data.source", rule, written.data.source)])
        moved = packed.add(_Named("data.source", written.data.source, Path(path)))
        values = assign(values, "data.source", f"{kind}:{moved}{mark}{column}")
    paths = zip(models(written.values), models(here.values), strict=True)
    moves = {
        name: packed.add(_Named(f"{START}.source", name, Path(path)))
        for name, path in dict(paths).items()
        if beside(name)
    }
    values = renamed(values, lambda name: moves.get(name, name))
    (folder / STUDY).write_text(dump(values), encoding="utf-8")
    return bool(packed.moved)


class _Named(NamedTuple):
    """A file, or a folder with files, that a field names as it is written; and where it is."""

    field: str
    written: str
    path: Path


class _Parcel:
    """A folder that files are put into, as long as it does not become too large."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._size = 0
        self.moved: dict[Path, str] = {}

    def add(self, named: _Named) -> str:
        """Copies files to where nothing else goes by that name; their path in the parcel."""
        # the folder here, or the one above, has a name too
        path = named.path if named.path.name.strip(".") else named.path.resolve()
        if path not in self.moved:
            files = [path] if path.is_file() else _plain_files(path)
            self._weigh(named, files)
            self.moved[path] = self._copied(path, files)
        return self.moved[path]

    def _weigh(self, named: _Named, files: Sequence[Path]) -> None:
        if not files:
            rule = f"must be a file or a folder with files, is looked for at {named.path}"
            raise ConfigError([Problem(named.field, rule, named.written)])
        size = sum(each.stat().st_size for each in files)
        self._size += size
        if self._size > LARGEST:
            both = f", {_mib(self._size)} with what travels beside it" if self._size > size else ""
            rule = (
                f"has {_mib(size)}{both}, and {_mib(LARGEST)} travel at most; copy it to the head "
                "with ray rsync-up, and give its absolute path there"
            )
            raise ConfigError([Problem(named.field, rule, named.written)])

    def _copied(self, path: Path, files: Sequence[Path]) -> str:
        digest = hashlib.blake2b(digest_size=8)
        for each in files:
            digest.update(f"{each.name}\0{each.stat().st_size}\0".encode())
            digest.update(each.read_bytes())
        below = Path(DATA, digest.hexdigest())
        target = self._folder / below if path.is_file() else self._folder / below / path.name
        target.mkdir(parents=True, exist_ok=True)
        for each in files:
            shutil.copyfile(each, target / each.name)
        return str(below / path.name)


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def _plain_files(folder: Path) -> list[Path]:
    """The files of a folder that are not hidden."""
    if not folder.is_dir():
        return []
    found = (each for each in folder.iterdir() if each.is_file())
    return sorted(each for each in found if not each.name.startswith("."))
