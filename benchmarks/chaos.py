"""Kills parts of real sweeps with SIGKILL at random moments, resumes them, and counts what is lost.

Every sweep is the same small study with `search.reproducible`, so that its table of trials has to
be that of an undisturbed run, bit for bit. The moments and the victims are drawn from a seed.
"""

import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import Row, row

VICTIMS = ("driver", "worker", "recorder", "ray")
KILLS = 20
KILLS_A_SWEEP = 4
LOOK_SECONDS = 0.02
SECONDS = 180.0
"""After so long a driver that was left alone counts as hanging, and that as a loss."""

TRIALS = 12
STUDY = (
    "search.reproducible=true",
    "search.lag=4",
    f"search.trials={TRIALS}",
    "training.epochs=9",
    "replicates=2",
    "checkpoint.seconds=0",
)
FINISHED = (1, 2, 3)
"""Optuna's numbers for COMPLETE, PRUNED and FAIL; its journal's operation 6 sets the state."""


def run(quick: bool, kills: int = KILLS) -> tuple[list[Row], dict[str, Any]]:
    """So many kills, spread over sweeps; a row for each sort of loss."""
    kills = min(kills, KILLS_A_SWEEP) if quick else kills
    draw = random.Random(0)  # noqa: S311
    killed: Counter[str] = Counter()
    losses: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        _ended(_start(Path(folder) / "undisturbed"))
        usual = time.monotonic() - began
        expected = _table(Path(folder) / "undisturbed")
        sweeps = 0
        while killed.total() < kills:
            place = Path(folder) / str(sweeps)
            sweeps += 1
            wanted = min(KILLS_A_SWEEP, kills - killed.total())
            losses["hung drivers"] += _disturbed(place, wanted, usual, draw, killed)
            losses.update(_losses(place, expected))
            print(f"{killed.total()} kills {dict(killed)}, losses {dict(+losses)}", file=sys.stderr)
    rows = [row(name, n, kills, n / kills, 0.0) for name, n in losses.items()]
    return rows, {"kills": dict(killed), "sweeps": sweeps, "seconds undisturbed": round(usual, 1)}


def _start(place: Path) -> "subprocess.Popen[bytes]":
    """`run`, which goes on with the study if there is one."""
    given = [f"--set={each}" for each in STUDY]
    command = [sys.executable, "-m", "sweep", "run", "--json", "--workspace", str(place), *given]
    return subprocess.Popen(
        command, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _environment() -> dict[str, str]:
    """Without what would take the trials, their records or Ray elsewhere."""
    away = ("RAY_ADDRESS", "SWEEP_STORAGE", "MLFLOW_TRACKING_URI")
    return {name: value for name, value in os.environ.items() if name not in away}


def _ended(driver: "subprocess.Popen[bytes]") -> bool:
    """Waits for a driver; whether it ended by itself."""
    try:
        driver.wait(SECONDS)
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait()
        return False
    return True


def _disturbed(
    place: Path, kills: int, usual: float, draw: random.Random, killed: Counter[str]
) -> int:
    """Runs a sweep to its end with so many kills on the way; how many drivers hung."""
    hung = done = 0
    driver = _start(place)
    while done < kills:
        victim = draw.choice(VICTIMS)
        time.sleep(draw.uniform(0, usual / kills))
        found = _awaited(driver, victim, usual)
        if found is None and driver.poll() is None:
            continue  # no such process came: another victim, at another moment
        if found is None or driver.poll() is not None:
            if (place / "digits" / "study.yaml").exists() and _whole(place):
                break
            driver = _start(place)
            continue
        found.kill()
        killed[victim] += 1
        done += 1
        if victim in ("driver", "ray"):
            hung += not _ended(driver)
            driver = _start(place)
    hung += not _ended(driver)
    last = _start(place)  # ends at once where all is done; else what a death has left
    return hung + (not _ended(last))


def _awaited(
    driver: "subprocess.Popen[bytes]", victim: str, seconds: float
) -> psutil.Process | None:
    """The victim once it is there; None if it does not come, or the driver has ended."""
    deadline = time.monotonic() + seconds
    while driver.poll() is None and time.monotonic() < deadline:
        if (found := _found(driver.pid, victim)) is not None:
            return found
        time.sleep(LOOK_SECONDS)
    return None


def _found(driver: int, victim: str) -> psutil.Process | None:
    """The victim among the driver and its own descendants, if it is there now."""
    try:
        process = psutil.Process(driver)
        if victim == "driver":
            return process
        for each in process.children(recursive=True):
            command = " ".join(each.cmdline())
            if {
                "worker": command.startswith("ray::advance"),
                "recorder": "sweep.recording.recorder" in command,
                "ray": "raylet/raylet" in command or "gcs_server" in command,
            }[victim]:
                return each
    except psutil.NoSuchProcess:
        pass
    return None


def _shown(place: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "sweep", "show", "digits", "--json", "--workspace", str(place)]
    output = subprocess.run(command, env=_environment(), check=True, capture_output=True).stdout
    trials: list[dict[str, Any]] = json.loads(output)["trials"]
    return trials


def _whole(place: Path) -> bool:
    """Whether every trial has ended."""
    trials = _shown(place)
    return len(trials) == TRIALS and all(each["state"] != "running" for each in trials)


def _table(place: Path) -> list[tuple[Any, ...]]:
    """What of every trial is a function of the study file."""
    names = ("number", "state", "reason", "params", "values", "epoch")
    return [tuple(trial[name] for name in names) for trial in _shown(place)]


def _losses(place: Path, expected: list[tuple[Any, ...]]) -> Counter[str]:
    """What is missing, doubled or otherwise than in an undisturbed run, in a sweep at its end."""
    trials = _shown(place)
    numbers = Counter(each["number"] for each in trials)
    epochs = {str(each["number"]): each["epoch"] for each in trials}
    with closing(sqlite3.connect(f"file:{place / 'mlflow.db'}?mode=ro", uri=True)) as database:
        runs = database.execute(
            "SELECT value, status, runs.run_uuid FROM runs JOIN tags USING (run_uuid) "
            "WHERE key = 'sweep.trial'"
        ).fetchall()
        points = Counter(
            dict(
                database.execute(
                    "SELECT run_uuid, COUNT(*) FROM metrics "
                    "WHERE key = 'val_loss' GROUP BY run_uuid"
                )
            )
        )
    recorded = Counter(value for value, _, _ in runs)
    table = _table(place)
    return Counter(
        {
            "trials missing": sum(number not in numbers for number, *_ in expected),
            "trials doubled": sum(n - 1 for n in numbers.values()),
            "trials left running": sum(each["state"] == "running" for each in trials),
            "trials told twice": _told_twice(place / "digits" / "trials.log"),
            "rows unlike the undisturbed": sum(
                was != now for was, now in zip(expected, table, strict=False)
            ),
            "MLflow runs missing": sum(number not in recorded for number in epochs),
            "MLflow runs doubled": sum(n - 1 for n in recorded.values()),
            "MLflow runs left running": sum(status == "RUNNING" for _, status, _ in runs),
            "MLflow epochs missing or doubled": sum(
                abs(points[run] - epochs.get(value, 0)) for value, _, run in runs
            ),
        }
    )


def _told_twice(journal: Path) -> int:
    """How many endings of trials the study's journal holds beyond one each."""
    told: Counter[int] = Counter()
    for line in journal.read_text(encoding="utf-8").splitlines():
        operation = json.loads(line)
        if operation["op_code"] == 6 and operation["state"] in FINISHED:
            told[operation["trial_id"]] += 1
    return sum(n - 1 for n in told.values())
