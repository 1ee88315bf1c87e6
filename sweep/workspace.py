"""The workspace: one folder with everything that sweeps leave behind.

mlflow.db, mlartifacts/     what the MLflow UI shows
<study>/study.yaml          the study file, with its overrides
<study>/submitted.yaml      the one that `submit` brought, if data came with it
<study>/trials.log          the truth about its trials (an Optuna journal)
<study>/storage             the database that holds that truth instead, if there is one
<study>/outbox.db           records on their way to MLflow
<study>/weights/            trained weights on their way to MLflow
<study>/models/             those of trials whose models are on their way to MLflow
<study>/kept/               those of the best trials so far
<study>/states/             of trials that take long, for when the driver dies (without `storage`)
<study>/data/               data that came with the study from another machine
<study>/wishes/             what users ask of the driver that runs it
<study>/queue/              configurations that users want tried next
<study>/winner.npz          the weights of the best trial
<study>/report/             the report: a page, and its pictures
<study>/driver.lock         held by the driver that is running it
"""

import errno
import fcntl
import json
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from trainer.rules import ConfigError, Problem

WAIT_SECONDS = 600.0
"""How long a driver waits for a database that does not answer, or a lock that it does not get."""


class StudyInUse(RuntimeError):
    """Another driver is running the study."""


class StorageUnavailable(RuntimeError):
    """The database of a study does not answer, or its disk takes nothing more."""


class UnknownStudy(LookupError):
    """The workspace holds no study of that name."""


def workspace(given: str | None) -> "Workspace":
    """The workspace at `given`, else at `$SWEEP_WORKSPACE`, else `./results`."""
    return Workspace(Path(given or os.environ.get("SWEEP_WORKSPACE") or "results").absolute())


def database() -> str | None:
    """The database for the trials of new studies: `$SWEEP_STORAGE`, an SQLAlchemy URL.

    Raises:
        ConfigError: it holds a password, which would be kept in every study's folder.
    """
    url = os.environ.get("SWEEP_STORAGE")
    if url and urlsplit(url).password:
        rule = "must hold no password; put it into the file that $PGPASSFILE names"
        raise ConfigError([Problem("$SWEEP_STORAGE", rule)])
    return url or None


class Workspace:
    """A workspace folder. Nothing is created before `study(...).create`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def tracking_uri(self) -> str:
        """Where MLflow keeps its runs: `$MLFLOW_TRACKING_URI`, else a SQLite file here."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.path / 'mlflow.db'}"

    @property
    def artifact_root(self) -> str | None:
        """Where artifacts go; None leaves it to a tracking server."""
        served = self.tracking_uri.startswith(("http:", "https:"))
        return None if served else (self.path / "mlartifacts").as_uri()

    def study(self, name: str) -> "StudyFolder":
        """The folder of a study, which may not exist."""
        return StudyFolder(self.path / name)

    def existing(self, name: str) -> "StudyFolder":
        """The folder of a study that exists.

        Raises:
            UnknownStudy: it does not.
        """
        known = {folder.name: folder for folder in self.studies()}
        if name not in known:
            there = ", ".join(known) or "none"
            raise UnknownStudy(f"no study {name!r} in {self.path}; there: {there}")
        return known[name]

    def studies(self) -> list["StudyFolder"]:
        """Every study in the workspace, by name."""
        if not self.path.is_dir():
            return []
        folders = [StudyFolder(each) for each in sorted(self.path.iterdir()) if each.is_dir()]
        return [folder for folder in folders if folder.file.exists()]

    def prepare(self, study: "StudyFolder") -> None:
        """Makes the workspace, and makes sure that it and the study's folder can be written.

        Raises:
            ConfigError: they can't, or MLflow's database would lie elsewhere.
        """
        if "?" in str(self.path):  # there the path of an SQLite database ends, in its address
            raise ConfigError([Problem(f"workspace {self.path}", "must be a path without `?`")])
        probe = self.path / f".write-test-{os.getpid()}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
            if study.path.exists() and not study.path.is_dir():
                raise NotADirectoryError(0, f"{study.name} is no folder")
        except OSError as error:
            rule = f"cannot be written: {error.strerror}"
            raise ConfigError([Problem(f"workspace {self.path}", rule)]) from None


class StudyFolder:
    """The folder of one study."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.file = path / "study.yaml"
        self.trials = path / "trials.log"
        self.outbox = path / "outbox.db"
        self.weights = path / "weights"
        self.states = path / "states"
        self.wishes = path / "wishes"
        self.queue = path / "queue"
        self.kept = path / "kept"
        self.models = path / "models"
        self.winner = path / "winner.npz"
        self.report = path / "report"
        self._database = path / "storage"

    @property
    def storage(self) -> Path | str:
        """Where the trials are kept: in the journal, or in the database of this URL."""
        return (
            self._database.read_text(encoding="utf-8") if self._database.exists() else self.trials
        )

    def create(self, text: str) -> None:
        """Stores the study file, whole or not at all. A study stays where its trials began."""
        self.weights.mkdir(parents=True, exist_ok=True)
        if not self.file.exists() and (url := database()):
            self._database.write_text(url, encoding="utf-8")
        draft = self.path / f".study.yaml.{os.getpid()}"
        draft.write_text(text, encoding="utf-8")
        draft.replace(self.file)

    def discard(self) -> None:
        """Removes the folder with all that is in it."""
        shutil.rmtree(self.path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the study for this driver; the kernel lets go of it if the driver dies.

        Raises:
            StudyInUse: another driver holds it.
            ConfigError: its folder can't be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "driver.lock").open("a+", encoding="utf-8")
        except OSError as error:
            rule = f"cannot be written: {error.strerror}"
            raise ConfigError([Problem(str(self.path), rule)]) from None
        with lock as file:
            if not _locked(file):
                file.seek(0)
                raise StudyInUse(f"study {self.name!r} is in use{_holder(file.read())}")
            file.truncate(0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            who = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
            file.write(json.dumps(who))
            file.flush()
            yield

    @contextmanager
    def written(self) -> Iterator[None]:
        """Says in words that the disk is full, or that someone else will not let go of a file.

        Raises:
            StorageUnavailable: so it is. What was written before stands.
        """
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StorageUnavailable(self._told(os.strerror(error.errno))) from error
        except sqlite3.OperationalError as error:
            if not {"full", "locked"} & set(str(error).split()):
                raise
            raise StorageUnavailable(self._told(str(error))) from error

    def _told(self, reason: str) -> str:
        return f"{self.path}: {reason}; when that is mended:  python -m sweep resume {self.name}"

    def in_use(self) -> bool:
        """Whether a driver is running the study."""
        lock = self.path / "driver.lock"
        if not lock.exists():
            return False
        with lock.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def _locked(file: TextIO) -> bool:
    """Whether the lock could be taken; readers that look at it hold it for moments."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def _holder(text: str) -> str:
    try:
        who = json.loads(text)
    except ValueError:
        return " by another driver"
    return f" by the driver with pid {who['pid']} on {who['host']} since {who['since']}"
