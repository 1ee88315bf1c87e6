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
            names += [] if quick else ["PyTorch compiled", "MLPClassifier", "JAX"]
            arena = _arena(stack, names, threads)
            facts |= arena["ours"].facts()
            for size, work in enumerate(SIZES):
                for each in (work, work.regularised()):
                    rows += _against(arena, each, size, threads, rounds)
            if threads == 1:
                rows += _replicates(arena["ours"], rounds)
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
    arena: dict[str, Contender], work: Work, size: int, threads: int, rounds: int
) -> list[Row]:
    plural = "threads" if threads > 1 else "thread"
    title = f"{work.name}, {threads} {plural}, µs a step"
    rows: list[Row] = []
    ours = arena["ours"]
    if "PyTorch" in arena:
        rows += [
            _paired(
                f"{title}: {part} / PyTorch {part}",
                (ours, work, part),
                (arena["PyTorch"], work, part),
                EAGER[size],
                rounds,
            )
            for part in ("step", "trial")
        ]
    others: list[tuple[str, float | None]] = [("floor", FLOOR[size])]
    if not work.regular:
        others += [("MLPClassifier", SKLEARN[size]), ("JAX", None)]
    for name, target in [*others, ("PyTorch compiled", None)]:
        if name in arena and (name != "floor" or not work.regular):
            try:
                rows.append(
                    _paired(
                        f"{title}: step / {name}",
                        (ours, work, "step"),
                        (arena[name], work, "step"),
                        target,
                        rounds,
                    )
                )
            except RuntimeError as error:
                print(f"{name} takes no part at {title}: {error}")
                del arena[name]
    return rows


def _paired(
    name: str,
    ours: tuple[Contender, Work, str],
    peer: tuple[Contender, Work, str],
    target: float | None,
    rounds: int,
) -> Row:
    """Alternating runs; the ratio is the median of the ratios of neighbours."""
    pairs = _pairs(ours, peer, rounds)
    steps = ours[1].steps(ours[2])
    return row(
        name,
        statistics.median(mine for mine, _ in pairs) / steps * MICRO,
        statistics.median(theirs for _, theirs in pairs) / steps * MICRO,
        statistics.median(mine / theirs for mine, theirs in pairs),
        target,
    )


def _pairs(
    ours: tuple[Contender, Work, str], peer: tuple[Contender, Work, str], rounds: int
) -> list[tuple[float, float]]:
    """Seconds of ours and of the peer's, in turn."""
    pairs = []
    same = ours[0] is peer[0]
    for contender, work, part in (ours,) if same else (ours, peer):
        contender.prepare(work, part)
    for _ in range(rounds):
        if same:
            ours[0].prepare(*ours[1:])
        mine = ours[0].seconds()
        if same:
            peer[0].prepare(*peer[1:])
        pairs.append((mine, peer[0].seconds()))
    return pairs


def _replicates(ours: Contender, rounds: int) -> list[Row]:
    """What one of R costs, against one alone."""
    rows = []
    for work, target, count in zip(SIZES, REPLICATES, (8, 8, 8, 2), strict=True):
        many = replace(work, replicates=count)
        pairs = _pairs((ours, many, "trial"), (ours, work, "trial"), rounds)
        ratios = sorted(mine / count / alone for mine, alone in pairs)
        low, middle = ratios[len(ratios) // 10], statistics.median(ratios)
        found = row(
            f"{work.name}, 1 thread, µs a step: one of R = {count} / one alone",
            statistics.median(mine for mine, _ in pairs) / count / work.steps("trial") * MICRO,
            statistics.median(alone for _, alone in pairs) / work.steps("trial") * MICRO,
            middle,
            target,
        )
        # "not dearer": the interval of the paired ratios includes 1 or lies below
        rows.append(replace(found, met=low <= 1.0) if target == 1.0 else found)
    return rows


def _activations(arena: dict[str, Contender], rounds: int) -> list[Row]:
    rows = []
    for name in ACTIVATIONS if "PyTorch" in arena else ():
        work = replace(SIZES[1], activation=name)
        rows.append(
            _paired(
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
