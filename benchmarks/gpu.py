"""The trainer on a GPU against PyTorch on the same card, and replicates against one."""

import statistics
import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from benchmarks.arena import Contender
from benchmarks.report import Row, row
from benchmarks.trainer import MICRO, paired, pairs
from benchmarks.work import SIZES, Work
from trainer.device import DeviceError, opened

REPLICATES = (8, 64, 256)
AHEAD = 1.0
"""Target against eager PyTorch, at every size and number of replicates, for one of them."""

MANY, WITHIN = 256, 3.0
"""So many replicates of the smallest net are to take at most so many times as long as one."""


def run(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """All comparisons; with `quick` the two small sizes alone, and fewer rounds."""
    try:
        facts = {"card": opened().card}
    except DeviceError as error:
        print(f"python -m benchmarks gpu: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    rounds = 3 if quick else 9
    rows: list[Row] = []
    with ExitStack() as stack:
        names = ("ours on the GPU", "PyTorch on the GPU", "ours on the GPU")
        ours, peer, alone = (stack.enter_context(Contender(name, 1)) for name in names)
        for work in SIZES[:2] if quick else SIZES:
            for each in (work, work.regularised()):
                for part in ("step", "trial"):
                    title = f"{each.name}, µs a step: {part} / PyTorch"
                    rows.append(
                        paired(title, (ours, each, part), (peer, each, part), AHEAD, rounds)
                    )
            for count in REPLICATES:
                rows += _together(work, count, ours, peer, rounds)
        rows.append(_many(ours, alone, rounds))
    return rows, facts


def _together(work: Work, count: int, ours: Contender, peer: Contender, rounds: int) -> list[Row]:
    """One of R replicates against a net of PyTorch's; nothing where the card is too small."""
    many = replace(work, replicates=count)
    try:
        timed = pairs((ours, many, "step"), (peer, work, "step"), rounds)
    except RuntimeError as error:
        print(f"{work.name}, R = {count} is left out: {error}", file=sys.stderr)
        return []
    each = MICRO / work.steps("step")
    mine = statistics.median(seconds for seconds, _ in timed) / count
    theirs = statistics.median(seconds for _, seconds in timed)
    ratio = statistics.median(one / count / other for one, other in timed)
    title = f"{work.name}, µs a step: one of R = {count} / PyTorch"
    return [row(title, mine * each, theirs * each, ratio, AHEAD)]


def _many(ours: Contender, alone: Contender, rounds: int) -> Row:
    """All replicates of the smallest net together, against one."""
    work = SIZES[0]
    many = (ours, replace(work, replicates=MANY), "step")
    title = f"{work.name}, µs a step: all of R = {MANY} / one alone"
    return paired(title, many, (alone, work, "step"), WITHIN, rounds)
