"""The durable queue of one study: what must reach MLflow, and how far that has come.

The driver appends records; the recorder process reads those that are pending, sends them, and
marks them. Both open the same SQLite file, in WAL mode, so that neither waits for the other longer
than a commit lasts. Entries stay in the file when they have been sent: pictures are drawn from
them, and they can be sent again to another server.

`synchronous=NORMAL`: a commit is handed to the operating system, not to the disk, so that it costs
tens of microseconds. A process that is killed at any moment loses nothing it had committed. When
the machine loses its power the last commits may be missing, but the file is whole; the study's
storage, which is the truth, then has what is missing, and the sender checks what it did not send
itself (see `sweep.recording.sender`).
"""

import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from sweep.recording.records import Epochs, Late, LearningCurve, Record, packed, unpacked

PARENT = -1
"""Stands in the column `trial` for the parent run, which belongs to no trial."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY,
    trial INTEGER NOT NULL,
    kind TEXT NOT NULL,
    late INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'refused')),
    reason TEXT,
    last_epoch INTEGER,
    fields TEXT NOT NULL,
    history BLOB
);
CREATE INDEX IF NOT EXISTS pending ON entries (late, id) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS refused ON entries (id) WHERE state = 'refused';
CREATE INDEX IF NOT EXISTS of_trial ON entries (trial, id);
CREATE UNIQUE INDEX IF NOT EXISTS one_start ON entries (trial) WHERE kind = 'TrialStarted';
CREATE TABLE IF NOT EXISTS runs (
    trial INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,
    artifact_uri TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT OR IGNORE INTO facts VALUES ('sweep_id', '{sweep_id}');
"""


class Entry(NamedTuple):
    """A record with its place in the queue."""

    id: int
    record: Record


class Run(NamedTuple):
    """A run in MLflow."""

    run_id: str
    artifact_uri: str


class Backlog(NamedTuple):
    """What has not reached MLflow: records, pictures to be drawn, and what MLflow refused."""

    records: int
    pictures: int
    refused: int

    def __str__(self) -> str:
        parts = self._asdict().items()
        return ", ".join(f"{what} {count}" for what, count in parts if count) or "–"

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return not (self.records or self.pictures)


NOTHING = Backlog(0, 0, 0)


class Outbox:
    """The queue in the file `path`, made when it is missing.

    One process adds, one sends, any may read; an instance belongs to the thread that made it.

    Raises:
        sqlite3.Error: from every method, when the file can't be read or written.
    """

    def __init__(self, path: Path, *, patience: float = 30.0, reading: bool = False):
        """Opens the file; a lock on it is waited for that many seconds.

        With `reading` nothing in its folder changes, and a missing file is an empty queue.
        """
        self._db = _to_read(path, patience) if reading else _to_write(path, patience)

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Everything done inside is committed at once, or not at all when it raises."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # What the driver does.

    def add(self, record: Record) -> None:
        """Puts a record on the queue.

        Epochs of the trial that are on record already are left out, and so is a second start, so
        that a driver which does a link again after a crash need not know how far it had come.

        Raises:
            ValueError: the arrays of a history differ in shape.
        """
        last_epoch = None
        if isinstance(record, Epochs):
            rest = self._not_yet_recorded(record)
            if rest is None:
                return
            record, last_epoch = rest, rest.last_epoch
        self._db.execute(
            "INSERT OR IGNORE INTO entries (trial, kind, fields, history, last_epoch, late) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (_key(record.trial), *packed(record), last_epoch, isinstance(record, Late)),
        )

    def renew(self, sweep_id: str, records: Iterable[Record]) -> None:
        """Goes on where another outbox of the study was lost, with what is known of its trials.

        There may be runs in MLflow of which nothing is known here.
        """
        with self.batch():
            self.note("sweep_id", sweep_id)
            self.note("renewed", "yes")
            for record in records:
                self.add(record)

    def ends(self) -> dict[int, str | None]:
        """The state in which each trial on record ended; None for one that has not ended."""
        rows = self._db.execute(
            "SELECT trial, kind, fields FROM entries "
            "WHERE kind IN ('TrialStarted', 'TrialEnded') ORDER BY id"
        )
        return {
            trial: json.loads(text)["state"] if kind == "TrialEnded" else None
            for trial, kind, text in rows
        }

    def concluded(self) -> bool:
        """Whether the last sweep on record came to its own end, neither killed nor stopped."""
        row = self._db.execute(
            "SELECT kind, fields FROM entries WHERE trial = ? AND NOT late "
            "ORDER BY id DESC LIMIT 1",
            (PARENT,),
        ).fetchone()
        return bool(row) and row[0] == "SweepEnded" and json.loads(row[1])["state"] != "stopped"

    def trials_with(self, kind: type[Record]) -> set[int]:
        """The trials of which a record of that kind is on the queue, sent or not."""
        rows = self._db.execute("SELECT trial FROM entries WHERE kind = ?", (kind.__name__,))
        return {trial for (trial,) in rows}

    def _not_yet_recorded(self, epochs: Epochs) -> Epochs | None:
        (last,) = self._db.execute(
            "SELECT max(last_epoch) FROM entries WHERE trial = ?", (epochs.trial,)
        ).fetchone()
        known = 0 if last is None else last - epochs.first_epoch + 1
        if known <= 0:
            return epochs
        if epochs.last_epoch <= last:
            return None
        rest = {name: values[known:] for name, values in epochs.history.items()}
        return Epochs(epochs.trial, last + 1, rest, epochs.at_ms)

    # What the sender does.

    def pending(self, limit: int, *, late: bool = False) -> list[Entry]:
        """The first entries that wait to be sent, in their order.

        `late` ones are pictures and models.
        """
        rows = self._db.execute(
            "SELECT id, kind, fields, history FROM entries "
            "WHERE state = 'pending' AND late = ? ORDER BY id LIMIT ?",
            (late, limit),
        )
        return [Entry(row[0], unpacked(*row[1:])) for row in rows]

    def records(self, trial: int) -> list[Record]:
        """All records of a trial, sent or not, in their order."""
        rows = self._db.execute(
            "SELECT kind, fields, history FROM entries WHERE trial = ? AND NOT late ORDER BY id",
            (trial,),
        )
        return [unpacked(*row) for row in rows]

    def sent(self, entries: Iterable[Entry], then: Iterable[LearningCurve] = ()) -> None:
        """Marks entries as sent and puts on the queue what has to follow them."""
        with self.batch():
            self._db.executemany(
                "UPDATE entries SET state = 'sent', reason = NULL WHERE id = ?",
                [(entry.id,) for entry in entries],
            )
            for record in then:
                self.add(record)

    def first_without_run_ms(self) -> int:
        """When the first pending record was made whose trial has no run yet; 0 if there is none.

        0 too where runs may be older than all records.
        """
        if self.fact("renewed"):
            return 0
        (at_ms,) = self._db.execute(
            "SELECT min(json_extract(fields, '$.at_ms')) FROM entries "
            "WHERE state = 'pending' AND trial NOT IN (SELECT trial FROM runs)"
        ).fetchone()
        return int(at_ms or 0)

    def refuse(self, entry: Entry, reason: str) -> None:
        """Sets an entry aside that MLflow will not take."""
        self._db.execute(
            "UPDATE entries SET state = 'refused', reason = ? WHERE id = ?", (reason, entry.id)
        )

    def reasons(self) -> list[str]:
        """Why entries were set aside, each reason once, in a line; the latest comes last."""
        reasons = (reason.strip().splitlines()[-1] for _, reason in self.refused())
        return list(dict.fromkeys(reasons))

    def refused(self) -> list[tuple[Entry, str]]:
        """The entries set aside, each with the reason."""
        rows = self._db.execute(
            "SELECT reason, id, kind, fields, history FROM entries WHERE state = 'refused' "
            "ORDER BY id"
        )
        return [(Entry(row[1], unpacked(*row[2:])), row[0]) for row in rows]

    def weights_sent(self) -> list[str]:
        """The files of weights that have been sent and that nobody needs any more."""
        rows = self._db.execute(
            "SELECT json_extract(fields, '$.weights') AS weights FROM entries "
            "WHERE kind IN ('TrialEnded', 'Model') AND state = 'sent' AND weights IS NOT NULL"
        )
        return [path for (path,) in rows]

    def aims_at(self, tracking_uri: str) -> bool:
        """Whether that is where the records go."""
        return self.fact("tracking_uri") == _without_password(tracking_uri)

    def aim(self, tracking_uri: str) -> None:
        """Says where the records go. When that is another place, all of them go there anew."""
        if self.aims_at(tracking_uri):
            return
        place = _without_password(tracking_uri)
        with self.batch():
            self._db.execute("DELETE FROM entries WHERE kind = 'LearningCurve'")
            self._db.execute("UPDATE entries SET state = 'pending', reason = NULL")
            self._db.execute("DELETE FROM runs")
            self.note("experiment_id", None)
            self.note("tracking_uri", place)

    def keep_run(self, trial: int | None, run: Run) -> None:
        """Keeps the MLflow run of a trial, or of the sweep (None)."""
        self._db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (_key(trial), *run))

    # What both read.

    def run_ids(self) -> dict[int | None, str]:
        """The id of the MLflow run of each trial that has one; None is the sweep's."""
        return {trial: run.run_id for trial, run in self.runs().items()}

    def runs(self) -> dict[int | None, Run]:
        """The MLflow run of each trial that has one; None is the sweep's."""
        rows = self._db.execute("SELECT * FROM runs")
        return {None if trial == PARENT else trial: Run(*run) for trial, *run in rows}

    def backlog(self) -> Backlog:
        """How much has not reached MLflow."""
        row = self._db.execute(
            "SELECT (SELECT count(*) FROM entries WHERE state = 'pending' AND late = 0),"
            " (SELECT count(*) FROM entries WHERE state = 'pending' AND late = 1),"
            " (SELECT count(*) FROM entries WHERE state = 'refused')"
        ).fetchone()
        return Backlog(*row)

    def fact(self, name: str) -> str | None:
        """What was noted: `sweep_id`, `tracking_uri`, `experiment_id`, `trouble`."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    @property
    def sweep_id(self) -> str:
        """What tells the study from every other of its name."""
        found = self.fact("sweep_id")
        assert found is not None
        return found

    def note(self, name: str, value: str | None) -> None:
        """Notes a fact, or forgets it (None)."""
        if value is None:
            self._db.execute("DELETE FROM facts WHERE name = ?", (name,))
        else:
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def _to_write(path: Path, patience: float) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=patience, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    _make_tables(db)
    return db


def _to_read(path: Path, patience: float) -> sqlite3.Connection:
    if path.exists():
        # A reader of a file that nobody has open would make its WAL, and leave it behind.
        how = "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?{how}", uri=True, timeout=patience, isolation_level=None
        )
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'facts'").fetchone():
            return db
        db.close()  # whose making was cut off
    db = sqlite3.connect(":memory:", isolation_level=None)
    _make_tables(db)
    return db


def _make_tables(db: sqlite3.Connection) -> None:
    script = SCHEMA.format(sweep_id=uuid.uuid4().hex)
    db.executescript(f"BEGIN IMMEDIATE;{script}COMMIT;")


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    _, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=host).geturl() if at else uri


def _key(trial: int | None) -> int:
    return PARENT if trial is None else trial
