"""The trainer against its peers, at the sizes of nets that sweeps train."""

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from benchmarks.arena import Contender
from benchmarks.report import Row, row
from benchmarks.work import ACTIVATIONS, SIZES, Work

EAGER = (0.25, 0.25, 0.75, 1.0)
"""Targets against eager PyTorch, size by size."""

SKLEARN = (1 / 3, 1 / 3, 1 / 3, 1 / 1.5)
FLOOR = (None, None, 1.6, 1.6)
REPLICATES = (0.35, 0.45, 1.0, 1.0)
MICRO = 1e6


def run(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """All comparisons; with `quick` on one thread and against eager PyTorch and the floor only."""
    rows: list[Row] = []
    facts: dict[str, Any] = {}
    rounds = 3 if quick else 9
    for threads in (1,) if quick else (1, 2):
        with ExitStack() as stack:
            names = ["ours", "PyTorch", "floor"]
            if not quick:
                names += ["NumPy alone", "PyTorch compiled", "MLPClassifier", "JAX"]
            arena = _arena(stack, names, threads)
            facts |= arena["ours"].facts()
            for size, work in enumerate(SIZES):
                for each in (work, work.regularised()):
                    brief = quick and (each.regular or size == 3)
                    parts = ("step",) if brief else ("step", "trial")
                    rows += _against(arena, each, size, threads, parts, rounds)
            if threads == 1:
                rows += _replicates(arena["ours"], quick, rounds)
                rows += [] if quick else _activations(arena, rounds)
    rows += [] if quick else [_memory()]
    return rows, facts


def _arena(stack: ExitStack, names: Sequence[str], threads: int) -> dict[str, Contender]:
    arena = {}
    for name in names:
        try:
            arena[name] = stack.enter_context(Contender(name, threads))
        except RuntimeError as error:
            print(f"{name} takes no part: {error}")
    return arena


def _against(
    arena: dict[str, Contender],
    work: Work,
    size: int,
    threads: int,
    parts: Sequence[str],
    rounds: int,
) -> list[Row]:
    plural = "threads" if threads > 1 else "thread"
    title = f"{work.name}, {threads} {plural}, µs a step"
    rows: list[Row] = []
    compared: list[tuple[str, str, float | None]] = [
        ("PyTorch", part, EAGER[size]) for part in parts
    ]
    compared.append(("NumPy alone", "step", None))
    if not work.regular:
        compared.append(("floor", "step", FLOOR[size]))
        compared += [("MLPClassifier", "step", SKLEARN[size]), ("JAX", "step", None)]
        if threads == 1:  # it takes a minute to compile
            compared.append(("PyTorch compiled", "step", None))
    for name, part, target in compared:
        if name in arena:
            ours, peer = (arena["ours"], work, part), (arena[name], work, part)
            rows.append(paired(f"{title}: {part} / {name}", ours, peer, target, rounds))
    return rows


def paired(
    name: str,
    ours: tuple[Contender, Work, str],
    peer: tuple[Contender, Work, str],
    target: float | None,
    rounds: int,
) -> Row:
    """Alternating runs; the ratio is the median of the ratios of neighbours."""
    found = pairs(ours, peer, rounds)
    steps = ours[1].steps(ours[2])
    return row(
        name,
        statistics.median(mine for mine, _ in found) / steps * MICRO,
        statistics.median(theirs for _, theirs in found) / steps * MICRO,
        statistics.median(mine / theirs for mine, theirs in found),
        target,
    )


def pairs(
    ours: tuple[Contender, Work, str], peer: tuple[Contender, Work, str], rounds: int
) -> list[tuple[float, float]]:
    """Seconds of ours and of the peer's, in turn."""
    for contender, work, part in (ours, peer):
        contender.prepare(work, part)
    return [(ours[0].seconds(), peer[0].seconds()) for _ in range(rounds)]


def _replicates(ours: Contender, quick: bool, rounds: int) -> list[Row]:
    """What one of R costs, against one alone."""
    rows = []
    sizes = list(zip(SIZES, REPLICATES, (8, 8, 8, 2), strict=True))
    with Contender("ours", 1) as other:
        for work, target, count in sizes[:2] if quick else sizes:
            many = replace(work, replicates=count)
            timed = pairs((ours, many, "trial"), (other, work, "trial"), rounds)
            ratios = sorted(mine / count / alone for mine, alone in timed)
            found = row(
                f"{work.name}, 1 thread, µs a step: one of R = {count} / one alone",
                statistics.median(mine for mine, _ in timed) / count / work.steps("trial") * MICRO,
                statistics.median(alone for _, alone in timed) / work.steps("trial") * MICRO,
                statistics.median(ratios),
                target,
            )
            # "not dearer": the paired ratios are not all above 1, but for one in ten
            low = ratios[len(ratios) // 10]
            rows.append(replace(found, met=low <= 1.0) if target == 1.0 else found)
    return rows


def _activations(arena: dict[str, Contender], rounds: int) -> list[Row]:
    rows = []
    for name in ACTIVATIONS if "PyTorch" in arena else ():
        work = replace(SIZES[1], activation=name)
        rows.append(
            paired(
                f"{work.name} {name}, 1 thread, µs a step: step / PyTorch step",
                (arena["ours"], work, "step"),
                (arena["PyTorch"], work, "step"),
                EAGER[1],
                rounds,
            )
        )
    return rows


def _memory() -> Row:
    """The most memory resident in a trial of the largest net, each in a fresh process."""
    figures = []
    for name in ("ours", "PyTorch"):
        with Contender(name, 1) as contender:
            contender.prepare(SIZES[-1], "trial")
            figures.append(contender.memory() / 2**20)
    ours, peer = figures
    return row(f"{SIZES[-1].name}: peak MiB of a trial / PyTorch", ours, peer, ours / peer, 1.0)
