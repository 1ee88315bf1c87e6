"""Our part in the comparison of sweeps: the whole product, or its driver without the recorder."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks import trials
from benchmarks.child import Child, call
from sweep import driver
from sweep.datasets import Datasets
from sweep.pruners import NoPruner
from sweep.scheduling.loop import Loop
from sweep.scheduling.ports import Standing
from sweep.scheduling.ray_runner import RayRunner
from sweep.scheduling.runner import Advanced
from sweep.search.search import Search
from sweep.search.storage import RECORD, Storage
from sweep.search.trial import Trial
from sweep.spec.fields import Resources
from sweep.spec.study import check
from trainer.state import State

POLL_SECONDS = 0.05
NAME = "digits"


def recorded(count: int, folder: Path) -> dict[str, Any]:
    """The product as it is, until MLflow has all data; the pictures it still draws don't count.

    It is not held back from drawing them: what it draws while it trains takes its time.
    """
    call("benchmarks.peers", "store", cwd=folder)
    child = Child("benchmarks.own", "product", count, cwd=folder)
    outbox = folder / NAME / "outbox.db"
    while child.running() and not (ended := all_data_sent(outbox)):
        time.sleep(POLL_SECONDS)
    ran = child.result()
    if not ended:
        raise RuntimeError("the sweep ended before MLflow had all of it")
    return {"seconds": ended - ran["started"], "trials": ran["trials"]}


def all_data_sent(outbox: Path) -> float | None:
    """The time, in seconds since the epoch, if the sweep has ended and no data wait."""
    try:
        with closing(sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)) as db:
            ended, waiting = db.execute(
                "SELECT count(*) FILTER (WHERE kind = 'SweepEnded'),"
                " count(*) FILTER (WHERE state = 'pending' AND NOT late) FROM entries"
            ).fetchone()
    except sqlite3.OperationalError:  # not there yet
        return None
    return time.time() if ended and not waiting else None


def product(count: int, one_slot: bool = False) -> dict[str, Any]:
    """Runs a sweep to its end, pictures included.

    Returns:
        When its first trial started, and the seconds from there to the last one's end.
    """
    folder = Path.cwd()
    values = trials.values(count) | {"name": NAME}
    runner = _one_slot if one_slot else RayRunner
    driver.run(values, folder=str(folder), address="local", quiet=True, runner=runner)
    with closing(sqlite3.connect(folder / NAME / "outbox.db")) as db:
        started, ended = db.execute(
            "SELECT min(json_extract(fields, '$.at_ms')), max(json_extract(fields, '$.at_ms')) "
            "FROM entries WHERE kind IN ('TrialStarted', 'TrialEnded')"
        ).fetchone()
    return {
        "started": started / 1000,
        "seconds": (ended - started) / 1000,
        "trials": _trials(folder / NAME / "trials.log"),
    }


def _one_slot(datasets: Datasets, resources: Resources, address: str | None) -> RayRunner:
    """A runner whose every link takes all processors, but for one thread."""
    return RayRunner(datasets, replace(resources, cpu=os.cpu_count() or 1), address)


def first_result() -> float:
    """When the first trial of a sweep has ended."""
    folder = Path.cwd()
    driver.run(
        trials.values(trials.SLOTS) | {"name": NAME},
        folder=str(folder),
        address="local",
        quiet=True,
    )
    with closing(sqlite3.connect(folder / NAME / "outbox.db")) as db:
        (ended,) = db.execute(
            "SELECT min(json_extract(fields, '$.at_ms')) FROM entries WHERE kind = 'TrialEnded'"
        ).fetchone()
    return float(ended) / 1000


def _trials(journal: Path) -> list[tuple[trials.Params, float | None]]:
    found = Storage(journal, NAME).trials()
    return [(each.params, each.user_attrs[RECORD]["value"]) for each in found]


def unrecorded(count: int, one_slot: bool = False) -> dict[str, Any]:
    """The driver's loop with durable storage and a local Ray, without the recorder.

    Returns:
        The seconds and all processes' processor seconds of the loop, the trials, and the seconds
        from its start at which each of them ended.
    """
    study = check(trials.values(count) | {"name": NAME})
    journal = Path("trials.log")
    search = Search(study, Storage(journal, NAME, directions=study.directions))
    make = _one_slot if one_slot else RayRunner
    with closing(make(trials.datasets(), study.resources, None)) as runner:
        began, used = time.monotonic(), _processor_seconds()
        ends = Ends()
        Loop(study, search, runner, NoPruner(), ends, unseen).run()
        seconds, used = time.monotonic() - began, _processor_seconds() - used
    return {
        "seconds": seconds,
        "processor": used,
        "trials": _trials(journal),
        "ends": [ends.at[number] - began for number in sorted(ends.at)],
    }


def _processor_seconds() -> float:
    """What this process and those of its Ray have used so far."""
    here = psutil.Process()
    total = 0.0
    for process in [here, *here.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


class Silence:
    """Records that nobody writes down."""

    def started(self, trial: Trial) -> None:
        """Nothing."""

    def advanced(self, trial: Trial, outcome: Advanced) -> None:
        """Nothing."""

    def ended(
        self, trial: Trial, state: Callable[[], State] | None, error: str | None, *, best: bool
    ) -> None:
        """Nothing."""

    def left(self, trial: Trial) -> None:
        """Nothing."""


class Ends(Silence):
    """The times at which trials ended."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}

    def ended(
        self, trial: Trial, state: Callable[[], State] | None, error: str | None, *, best: bool
    ) -> None:
        """Keeps the time."""
        self.at[trial.number] = time.monotonic()


def unseen(standing: Standing) -> None:
    """Shows nothing."""
