"""The progress of a sweep: a live line on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from sweep.figures import figure
from sweep.scheduling.ports import Standing, Watch
from sweep.search.trial import State

PLAIN_SECONDS = 5.0
"""How often a plain line is printed."""


@contextmanager
def progress(metric: str, *, quiet: bool) -> Iterator[Watch]:
    """A watch that shows how the sweep stands, on standard error."""
    started = time.monotonic()
    if quiet:
        yield lambda standing: None
    elif sys.stderr.isatty():
        console = Console(stderr=True)
        with Live(console=console, refresh_per_second=8) as live:
            yield lambda standing: live.update(_live(standing, metric, time.monotonic() - started))
    else:
        yield _Plain(metric, started).show


class _Plain:
    """Prints a line every few seconds, and one at the end."""

    def __init__(self, metric: str, started: float) -> None:
        self._metric = metric
        self._started = started
        self._shown = started

    def show(self, standing: Standing) -> None:
        now = time.monotonic()
        if standing.running and now - self._shown < PLAIN_SECONDS:
            return
        self._shown = now
        print(line(standing, self._metric, now - self._started), file=sys.stderr, flush=True)


def ended(standing: Standing) -> int:
    """How many trials have ended, those stopped by the user left out."""
    return sum(standing.counts[each] for each in (State.COMPLETE, State.PRUNED, State.FAILED))


def line(standing: Standing, metric: str, seconds: float) -> str:
    """The standing in one line; `seconds` is how long this run has taken."""
    done = ended(standing)
    rate = standing.fresh / seconds if seconds > 0 else 0.0
    left = f"{(standing.target - done) / rate:.0f} s left" if rate else "… left"
    goes_on = done < standing.target and standing.running
    counts = standing.counts
    parts = [
        f"{done}/{standing.target} trials",
        f"{standing.running} running",
        f"{counts[State.PRUNED]} pruned",
        f"{counts[State.FAILED]} failed",
    ]
    if standing.lost:
        parts.append(f"{standing.lost} links lost and trained again")
    if standing.best is not None:
        parts.append(f"best {metric} {figure(standing.best.value)} (#{standing.best.number})")
    parts += [f"{rate:.1f} trials/s", left if goes_on else f"{seconds:.0f} s"]
    if standing.unrecorded:
        parts.append(standing.unrecorded)
    if standing.stopping:
        parts.append("stopping: running trials finish (Ctrl-C again to stop at once)")
    return " · ".join(parts)


def _live(standing: Standing, metric: str, seconds: float) -> Text:
    width = 24
    full = round(width * min(1.0, ended(standing) / max(1, standing.target)))
    rest = ("━" * (width - full), "grey37")
    return Text.assemble(("━" * full, "green"), rest, "\n" + line(standing, metric, seconds))
