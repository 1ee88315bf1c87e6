"""The sweep against its peers: trials a second, slots kept busy, the first result, long studies."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import own, trials
from benchmarks.child import call
from benchmarks.report import Row, row
from benchmarks.sleeping import SLOTS

MILLI = 1e3
OVERHEAD_MS = 20.0
DECISION_MS = 5.0
TUNE, OPTUNA = 1 / 20, 1 / 2.5
"""How much of the peers' time a recorded trial may take."""

STARTED = 20
"""After how many trials the workers have surely started."""

FIRST = 1.5
GROWTH = 1.5
WORSE = 1.1
PLAINLY = "Optuna alone, log_metrics an epoch"
Timed = Callable[[Path], dict[str, Any]]


def run(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """All of it; with `quick` a few trials against Optuna alone, and shorter studies."""
    rows = _digits(quick)
    if not quick:
        rows += [*_sleeping(), _first_result()]
    return [*rows, *_decisions(quick), _suggestions(quick), *([] if quick else [_quality()])], {}


def _digits(quick: bool) -> list[Row]:
    """Digits trials, the contenders in turn; Ray Tune has fewer, since 20 take it a minute."""
    count, few, rounds = (20, 0, 1) if quick else (200, 20, 3)
    contenders: dict[str, tuple[int, Timed]] = {
        "ours": (count, lambda folder: own.recorded(count, folder)),
        "Optuna alone": (count, _child("peers", "optuna_alone", count, True)),
    }
    if not quick:
        contenders |= {
            PLAINLY: (few, _child("peers", "optuna_alone", few, True, False)),
            "Ray Tune": (few, _child("peers", "ray_tune", few, True)),
            "ours, unrecorded": (count, _child("own", "unrecorded", count)),
            "Optuna alone, unrecorded": (count, _child("peers", "optuna_alone", count, False)),
            "Ray Tune, unrecorded": (few, _child("peers", "ray_tune", few, False)),
        }
    found: dict[str, list[float]] = {name: [] for name in contenders}
    overhead: list[tuple[float, float]] = []
    busy: list[tuple[float, float]] = []
    for _ in range(rounds):
        for name, (number, timed) in contenders.items():
            with tempfile.TemporaryDirectory() as folder:
                took = timed(Path(folder))
                found[name].append(MILLI * took["seconds"] / number)
                if name == "ours, unrecorded":
                    alone = call("benchmarks.trials", "alone", took["trials"], cwd=Path(folder))
                    overhead.append((_overhead(took, alone, 0), _overhead(took, alone, STARTED)))
                    busy.append((MILLI * took["processor"] / count, MILLI * sum(alone) / count))
    title = "a digits trial, ms / {}"
    rows = []
    for peer, target in {"Ray Tune": TUNE, "Optuna alone": OPTUNA, PLAINLY: OPTUNA}.items():
        for how, most in {"": target, ", unrecorded": None}.items():
            if peer + how in found:
                name = title.format(peer + how)
                rows.append(_paired(name, found["ours" + how], found[peer + how], most))
    if overhead:
        for which, title in enumerate(("", f", from the {STARTED + 1}st on")):
            median = statistics.median(each[which] for each in overhead)
            name = f"overhead of a digits trial{title}, unrecorded, ms / budget"
            rows.append(row(name, median, OVERHEAD_MS, median / OVERHEAD_MS, 1.0))
        name = "processor time of a digits trial, all processes, unrecorded, ms / its training"
        used, training = ([each[side] for each in busy] for side in (0, 1))
        rows.append(_paired(name, used, training, None))
    return rows


def _overhead(took: dict[str, Any], alone: list[float], first: int) -> float:
    """Milliseconds that slots did not train, a trial, once so many trials had ended."""
    ends: list[float] = sorted(took["ends"])
    seconds = float(took["seconds"]) - (ends[first - 1] if first else 0.0)
    return MILLI * (trials.SLOTS * seconds / (len(ends) - first) - statistics.mean(alone[first:]))


def _child(module: str, function: str, *arguments: Any) -> Timed:
    return lambda folder: dict(call(f"benchmarks.{module}", function, *arguments, cwd=folder))


def _paired(name: str, ours: list[float], peer: list[float], target: float | None) -> Row:
    ratios = [mine / theirs for mine, theirs in zip(ours, peer, strict=True)]
    return row(
        name, statistics.median(ours), statistics.median(peer), statistics.median(ratios), target
    )


def _sleeping() -> list[Row]:
    """One-second trials on sixteen slots; Ray Tune has fewer of them."""
    rows = []
    for name, function, count, target in (
        ("ours", "slept", 1000, 1.10),
        ("Ray Tune", "ray_tune", 64, None),
    ):
        with tempfile.TemporaryDirectory() as folder:
            took = call("benchmarks.sleeping", function, count, cwd=Path(folder))
        title = f"{count} one-second trials on {SLOTS} slots by {name}, s / the sleep alone"
        ratio = took["seconds"] / took["ideal"]
        rows.append(row(title, took["seconds"], took["ideal"], ratio, target))
    return rows


def _first_result() -> Row:
    """From the start of the process: the end of the first trial, the end of a bare Ray's task."""
    pairs = [(_until("own", "first_result"), _until("bare", "first_task")) for _ in range(5)]
    ours, peer = ([pair[side] for pair in pairs] for side in (0, 1))
    return _paired("first result, s / bare Ray's first task", ours, peer, FIRST)


def _until(module: str, function: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        return float(call(f"benchmarks.{module}", function, cwd=Path(folder))) - began


def _decisions(quick: bool) -> list[Row]:
    count = 1000 if quick else 10_250
    rows = []
    for pruner in ("asha",) if quick else ("asha", "hyperband", "median"):
        with tempfile.TemporaryDirectory() as folder:
            found = call("benchmarks.history", "decided", count, pruner, cwd=Path(folder))
        length, seconds = found[-1]
        name = f"a decision with {length} trials, {pruner}, ms / budget"
        rows.append(row(name, MILLI * seconds, DECISION_MS, MILLI * seconds / DECISION_MS, 1.0))
    return rows


def _suggestions(quick: bool) -> Row:
    few, many, asks = (200, 1000, 5) if quick else (1000, 5000, 9)
    with tempfile.TemporaryDirectory() as folder:
        found = call("benchmarks.history", "suggested", [few, many], asks, cwd=Path(folder))
    late, early = MILLI * found[str(many)], MILLI * found[str(few)]
    return row(
        f"a suggestion, ms: with {many} trials / with {few}", late, early, late / early, GROWTH
    )


def _quality() -> Row:
    """What it costs to show TPE the best and the newest trials alone."""
    count = 1200
    pairs = []
    for seed in range(3):
        with tempfile.TemporaryDirectory() as folder:
            where = {"cwd": Path(folder)}
            pairs.append(
                [
                    float(call("benchmarks.history", "searched", count, seed, bounded, **where))
                    for bounded in (True, False)
                ]
            )
    ours, peer = ([pair[side] for pair in pairs] for side in (0, 1))
    name = f"TPE's last of {count} suggestions, distance from the best / with all trials shown"
    return _paired(name, ours, peer, WORSE)
