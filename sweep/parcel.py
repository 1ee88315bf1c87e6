"""What travels to a cluster's head with a job: this code, the study file, and data if small."""

import hashlib
import shutil
from pathlib import Path

import sweep
import trainer
from sweep.spec.places import relative
from sweep.spec.study import Study
from sweep.spec.study_file import assign, dump
from sweep.zoo import SCHEMES
from trainer.rules import ConfigError, Problem
from trainer.sources import SOURCES

STUDY = "study.yaml"
DATA = "data"
"""The folder with the data, beside the study file."""

LARGEST = 90 * 2**20
"""The most bytes of data that travel: Ray's Jobs take packages of 100 MiB, the code in it."""


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
    absolute = "is read on the cluster's head, so its path must be absolute there"
    for source in study.starts():
        if not source.startswith((*SCHEMES, "/")):
            rule = f"{absolute}; copy it to the head first, with ray rsync-up, or take it of MLflow"
            problems.append(Problem("model.start_from.source", rule, source))
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


def pack_study(folder: Path, study: Study, source: str) -> bool:
    """Puts a study file into a folder, and its data if their path is relative; whether it is.

    Args:
        folder: where to.
        study: with its paths as they are written.
        source: the `data.source` of the study with a path that is good here.

    Raises:
        ConfigError: the data are not there, or too large to travel.
    """
    if relative(study.data.source) is None:
        (folder / STUDY).write_text(study.text, encoding="utf-8")
        return False
    kind, _, place = source.partition(":")
    path, mark, column = place.rpartition("#") if kind in ("csv", "parquet") else (place, "", "")
    here = Path(path)
    files = [here] if here.is_file() else _plain_files(here)
    size = sum(each.stat().st_size for each in files)
    if not files:
        rule = f"must be a file or a folder with files, is looked for at {here}"
        raise ConfigError([Problem("data.source", rule, study.data.source)])
    if size > LARGEST:
        rule = (
            f"has {size / 2**20:.0f} MiB, and {LARGEST // 2**20} MiB travel at most; copy it to "
            "the head with ray rsync-up, and give its absolute path there"
        )
        raise ConfigError([Problem("data.source", rule, study.data.source)])
    digest = hashlib.blake2b(digest_size=8)
    for each in files:
        digest.update(f"{each.name}\0{each.stat().st_size}\0".encode())
        digest.update(each.read_bytes())
    below = Path(DATA, digest.hexdigest())
    target = folder / below if here.is_file() else folder / below / here.name
    target.mkdir(parents=True)
    for each in files:
        shutil.copyfile(each, target / each.name)
    moved = f"{kind}:{below / here.name}{mark}{column}"
    text = dump(assign(dict(study.values), "data.source", moved))
    (folder / STUDY).write_text(text, encoding="utf-8")
    return True


def _plain_files(folder: Path) -> list[Path]:
    """The files of a folder that are not hidden."""
    if not folder.is_dir():
        return []
    found = (each for each in folder.iterdir() if each.is_file())
    return sorted(each for each in found if not each.name.startswith("."))
