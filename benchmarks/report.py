"""What a benchmark found: rows with a ratio and a target, the machine, a table and JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "numba", "torch", "scikit-learn", "jax")


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: what was compared.
        ours: our figure, in the unit that the name gives.
        peer: the peer's, in the same unit.
        ratio: ours over the peer's, the median over paired runs.
        target: what the ratio must not exceed; None for a figure without one.
        met: whether it does not.
        interval: of the ratio, 95 %, where the benchmark repeats its runs enough to give one.
    """

    name: str
    ours: float
    peer: float
    ratio: float
    target: float | None
    met: bool | None
    interval: tuple[float, float] | None = None


def row(name: str, ours: float, peer: float, ratio: float, target: float | None) -> Row:
    """A row whose target is met if the ratio is at most that."""
    return Row(name, ours, peer, ratio, target, None if target is None else ratio <= target)


def machine(**more: Any) -> dict[str, Any]:
    """What the figures depend on."""
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: version for name, version in versions.items() if version},
        **more,
    }


def written(rows: Sequence[Row], about: dict[str, Any], path: Path | None) -> None:
    """Prints the table, and writes the JSON if there is a path."""
    width = max(len(each.name) for each in rows)
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(f"{'':{width}}  {'ours':>10}  {'peer':>10}  {'ratio':>6}  {'target':>6}")
    for each in rows:
        target = "" if each.target is None else f"{each.target:6.2f}"
        mark = {None: "", True: "met", False: "MISSED"}[each.met]
        if each.interval is not None:
            low, high = each.interval
            mark = f"{mark} {low:.2f} … {high:.2f}".strip()
        figures = f"{each.ours:10.4g}  {each.peer:10.4g}  {each.ratio:6.2f}  {target:>6}  {mark}"
        print(f"{each.name:{width}}  {figures}".rstrip())
    if path is not None:
        content = {"machine": about, "rows": [asdict(each) for each in rows]}
        path.write_text(json.dumps(content, indent=1) + "\n")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
