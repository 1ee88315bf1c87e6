"""How throughput grows with the cluster: real slots on this machine, and a simulated cluster."""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.child import call
from benchmarks.report import Row, row

SLOTS = (1, 2, 4, 8, 16)
NODES, SLOTS_A_NODE = 200, 4
MINUTE = 60.0


def run(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Trials of a second on Ray's slots; trials of a minute on two hundred simulated nodes."""
    rounds = 4 if quick else 30
    rows, facts = list[Row](), dict[str, Any]()
    for slots in (1, 4) if quick else SLOTS:
        took = _child("benchmarks.sleeping", "slept", rounds * slots, slots)
        title = f"{rounds * slots} one-second trials on {slots} slots, s / the sleep alone"
        rows += _rows(title, took, rounds * slots)
        facts[f"driver of {slots} slots, MB"] = round(took["megabytes"])
    count = NODES * SLOTS_A_NODE * (1 if quick else 5)
    took = _child("benchmarks.simulated", "ran", count, NODES * SLOTS_A_NODE, MINUTE)
    title = f"{count} one-minute trials on {NODES} x {SLOTS_A_NODE} simulated slots, s / ideal"
    rows += _rows(title, took, count)
    facts["driver of the simulated cluster, MB"] = round(took["megabytes"])
    return rows, facts


def _rows(title: str, took: dict[str, float], count: int) -> list[Row]:
    """Time against ideal; and what the driver works a trial, against the time it has for one."""
    work, room = took["processor"] / count * 1e3, took["ideal"] / count * 1e3
    name = "    its driver: processor ms a trial / ms between two ends"
    return [
        row(title, took["seconds"], took["ideal"], took["seconds"] / took["ideal"], None),
        row(name, work, room, work / room, None),
    ]


def _child(module: str, function: str, *arguments: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        took: dict[str, Any] = call(module, function, *arguments, cwd=Path(folder))
        return took
