"""The process that sends the outbox of a study to MLflow.

    MLFLOW_TRACKING_URI=… python -m sweep.recording.recorder STUDY_DIR [ARTIFACT_ROOT]

The driver starts it (`sweep.recording.recording`) and holds the other end of its standard input.
When that is closed, because the driver has finished or because it is dead, the recorder sends what
is left and exits 0; it gives up, and exits 1, when nothing could be sent for a minute. Trials that
have ended are sent at once, those that run are brought up to date every two seconds, and pictures
are drawn when no data wait: while the driver is at work, in a twentieth of the time. What the store
refuses for good is set aside, what fails otherwise is tried again later, and neither is in the way
of the rest.
"""

import fcntl
import logging
import os
import select
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TextIO

from sweep.recording.outbox import Entry, Outbox
from sweep.recording.records import SweepEnded, SweepStarted, TrialEnded

NICENESS = 15
"""That of Ray's workers."""
POLL_SECONDS = 0.1
FLUSH_SECONDS = 2.0
"""How long the records of a trial that is still running may wait, to be sent together."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
"""How long to wait before what failed is tried again; the pause doubles from first to longest."""
PATIENCE_SECONDS = 60.0
HURRIES = "SWEEP_RECORDER_HURRIES"
"""The environment variable that is 1 when somebody waits for the recorder to end."""
PICTURES_SHARE = 0.05
"""Of the time, while trials train: a learning curve costs as much as a short trial."""
ENTRIES_AT_A_TIME = 500
PICTURES_LOOKED_AT = 50
"""How many pictures that fail may come before one that does not."""

log = logging.getLogger("sweep.recorder")


class Outage(Exception):
    """The store does not work at present."""


class Pause:
    """A growing wait between attempts."""

    def __init__(self) -> None:
        self._seconds = FIRST_PAUSE_SECONDS
        self.until = 0.0

    def longer(self) -> None:
        """Begins the next wait, twice as long as the one before."""
        self.until = time.monotonic() + self._seconds
        self._seconds = min(2 * self._seconds, LONGEST_PAUSE_SECONDS)


class Recorder:
    """Decides what is sent when."""

    def __init__(
        self, outbox: Outbox, study_dir: Path, tracking_uri: str, artifact_root: str | None
    ):
        from sweep.recording import sender, tracking

        self._outbox = outbox
        self._sender = sender.Sender(
            outbox, tracking.connect(tracking_uri), study_dir, artifact_root
        )
        self._is_refusal = tracking.is_refusal
        self._flushed = 0.0
        self._next_picture = 0.0
        self._pauses: dict[int | None, Pause] = {}

    def close(self) -> None:
        """Lets go of the store."""
        self._sender.close()

    def step(self, *, draining: bool) -> bool:
        """Sends what is due; whether anything was.

        Raises:
            Outage: nothing can be sent at present.
        """
        now = time.monotonic()
        flush = draining or now - self._flushed >= FLUSH_SECONDS
        if flush:
            self._flushed = now
        sent = False
        for trial, entries in _by_run(self._outbox.pending(ENTRIES_AT_A_TIME)).items():
            if flush or any(isinstance(e.record, AT_ONCE) for e in entries):
                sent |= self._send(trial, entries)
        return sent or ((draining or now >= self._next_picture) and self._draw())

    def _draw(self) -> bool:
        """Makes a picture; whether there was one to make."""
        began = time.monotonic()
        drawn = any(
            self._attempt(entry.record.trial, [entry], partial(self._sender.draw, entry))
            for entry in self._outbox.pending(PICTURES_LOOKED_AT, late=True)
        )
        ended = time.monotonic()
        self._next_picture = ended + (ended - began) * (1 / PICTURES_SHARE - 1)
        return drawn

    def _send(self, trial: int | None, entries: list[Entry]) -> bool:
        """Sends the entries of a run together or, when that has failed, one by one."""
        one_by_one = trial in self._pauses
        sent = False
        for some in [[entry] for entry in entries] if one_by_one else [entries]:
            if not self._attempt(trial, some, partial(self._sender.deliver, trial, some)):
                break
            sent = True
        return sent

    def _attempt(self, trial: int | None, entries: list[Entry], send: Callable[[], None]) -> bool:
        """Whether the entries are off the queue."""
        pause = self._pauses.get(trial)
        if pause is not None and time.monotonic() < pause.until:
            return False
        try:
            send()
        except Exception as error:  # whatever a store raises
            reason = f"{type(error).__name__}: {error}"
            log.warning("run of %s: %s", "the sweep" if trial is None else trial, reason)
            if self._is_refusal(error) and len(entries) == 1:
                self._outbox.refuse(entries[0], reason)
                return True
            if not self._is_refusal(error) and not self._sender.alive():
                raise Outage(reason) from error
            self._outbox.note("trouble", reason)
            self._pauses.setdefault(trial, Pause()).longer()
            return False
        self._pauses.pop(trial, None)
        return True


AT_ONCE = (SweepStarted, TrialEnded, SweepEnded)


def _by_run(entries: list[Entry]) -> dict[int | None, list[Entry]]:
    runs: dict[int | None, list[Entry]] = {}
    for entry in entries:
        runs.setdefault(entry.record.trial, []).append(entry)
    return runs


def record(
    outbox: Outbox, study_dir: Path, tracking_uri: str, artifact_root: str | None, driver: TextIO
) -> int:
    """Sends until the driver has closed its end and the outbox is empty; the exit code."""
    recorder: Recorder | None = None
    pause = Pause()
    draining = False
    last_success = time.monotonic()
    while not (draining and outbox.backlog().empty):
        sent = False
        try:
            if recorder is None:
                recorder = Recorder(outbox, study_dir, tracking_uri, artifact_root)
            sent = recorder.step(draining=draining)
            seconds = 0.0 if sent else POLL_SECONDS
        except Exception as error:  # the store can't be opened, or has stopped working
            log.warning("can't record at present: %s", error)
            outbox.note("trouble", str(error))
            pause.longer()
            seconds = pause.until - time.monotonic()
        if sent:
            outbox.note("trouble", None)
            pause = Pause()
            last_success = time.monotonic()
        elif draining and time.monotonic() - last_success > PATIENCE_SECONDS:
            code = 1
            break
        if draining:
            time.sleep(seconds)
        elif _is_closed(driver, seconds):
            draining = True
            last_success = time.monotonic()
    else:
        outbox.note("trouble", None)
        code = 0
    if recorder is not None:
        recorder.close()
    return code


def _is_closed(pipe: TextIO, seconds: float) -> bool:
    """Whether the other end is closed, now or within the seconds."""
    readable, _, _ = select.select([pipe], [], [], seconds)
    return bool(readable) and not os.read(pipe.fileno(), 4096)


def _lock(study_dir: Path) -> TextIO:
    """Waits until no other recorder is at work on the study."""
    lock = (study_dir / "recorder.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _share_with_training() -> None:
    """Takes its share of the processor beside Ray's workers, as if it were one of them.

    With less it would have most of its work before it when the last trial ends, on one processor
    while the others have none: on two processors that made a sweep of short trials last longer.
    """
    os.nice(NICENESS)


def _settle(database: str) -> None:
    """Brings what SQLite has written ahead into the database, so that its file alone is whole."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(database, timeout=1)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def main(study_dir: str, artifact_root: str | None = None) -> int:
    """What `python -m sweep.recording.recorder` does; the exit code."""
    tracking_uri = os.environ["MLFLOW_TRACKING_URI"]
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level="INFO")
    if os.environ.get(HURRIES) != "1":
        _share_with_training()
    folder = Path(study_dir)
    with _lock(folder):
        outbox = Outbox(folder / "outbox.db")
        outbox.aim(tracking_uri)
        try:
            code = record(outbox, folder, tracking_uri, artifact_root, sys.stdin)
        finally:
            outbox.close()
        if tracking_uri.startswith("sqlite:///"):
            _settle(tracking_uri.removeprefix("sqlite:///"))
        return code


if __name__ == "__main__":
    exit_code = main(*sys.argv[1:])
    logging.shutdown()
    os._exit(exit_code)  # everything is closed; taking mlflow down module by module takes seconds
