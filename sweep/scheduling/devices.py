"""Which trials train on a graphics card: those that are to end sooner there (`gpu: auto`).

What is expected is what was measured: how long an epoch takes on a card and on a processor, of nets
whose steps are about as much work. A few trials of every size try each of the two; a trial stays
where it began, for as long as there is a card at all.
"""

import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from sweep.spec.study import Study
from trainer.config import Config, elsewhere
from trainer.rules import build

TRIES = 2
"""Trials of a size that each kind of device trains before it is judged.

The first of each slot does not count where its worker was cold: it loads libraries and compiles.
"""

LATEST = 5
"""Measurements that count; the speed is their median, of warm workers as soon as there are any."""

STEP = 8.0
"""The largest steps of a size are about so many times as much work as the smallest."""


@dataclass(frozen=True)
class Work:
    """What a trial has to do.

    Attributes:
        size: of its steps: those of one size take about as long.
        steps: in an epoch, as a share of the training rows.
        epochs: of the whole trial.
        portable: whether a card can train it.
    """

    size: int
    steps: float
    epochs: int
    portable: bool = True


def work(
    study: Study,
    parameters: Callable[[Mapping[str, Any]], int | None],
    config: Mapping[str, Any],
    replicates: int,
) -> Work:
    """The work of a trial with this configuration; those of a user's own trainer are of one size.

    Args:
        study: the study.
        parameters: counts those of a configuration.
        config: the configuration.
        replicates: how many the trial trains.
    """
    epochs = int(config["training"]["epochs"])
    if study.trainer is not None:
        return Work(0, 1.0, epochs)
    batch = int(config["training"]["batch_size"])
    products = (parameters(config) or 1) * batch * replicates
    size = round(math.log(products, STEP))
    return Work(size, 1 / batch, epochs, portable=not elsewhere(build(Config, config)))


@dataclass(frozen=True)
class _Placed:
    """A trial that is on a card or not, since when."""

    card: bool
    work: Work
    since: float


class Devices:
    """Decides between cards and processors, and learns from how long they take. Knows no clock.

    Args:
        work: what a configuration has to do, with so many replicates.

    Attributes:
        trouble: why no card is used any more, if that is so.
    """

    def __init__(self, work: Callable[[Mapping[str, Any], int], Work]) -> None:
        self._work = work
        self._placed: dict[int, _Placed] = {}
        self._warm: dict[tuple[bool, int], deque[float]] = defaultdict(
            partial(deque[float], maxlen=LATEST)
        )
        self._cold: dict[tuple[bool, int], list[float]] = defaultdict(list)
        self.trouble: str | None = None

    def card(
        self,
        number: int,
        config: Mapping[str, Any],
        replicates: int,
        *,
        slots: int,
        cards: int,
        now: float,
    ) -> bool:
        """Whether a trial's next link trains on a card.

        Args:
            number: the trial.
            config: its configuration.
            replicates: how many it trains.
            slots: links that can be trained at the same time.
            cards: how many of them on a card.
            now: seconds.
        """
        placed = self._placed.get(number)
        if self.trouble:
            cards = 0
        if placed is None or (placed.card and not cards):
            asked = self._work(config, replicates)
            room = {True: cards, False: max(1, slots - cards)}
            card = cards > 0 and asked.portable and self._better(asked, room, now)
            placed = self._placed[number] = _Placed(card, asked, now)
        return placed.card

    def took(self, number: int, seconds: float, epochs: int, *, cold: bool = False) -> None:
        """Hears how long a trial's link took its worker, from the state before to that after it.

        `cold` says that the worker had trained nothing on this kind of device before.
        """
        placed = self._placed[number]
        kind = placed.card, placed.work.size
        speed = seconds / (placed.work.steps * max(1, epochs))
        (self._cold if cold else self._warm)[kind].append(speed)

    def on_cards(self) -> list[int]:
        """The trials that are on a card."""
        return [number for number, placed in self._placed.items() if placed.card]

    def left(self, number: int) -> None:
        """Hears that a trial is not trained any more."""
        self._placed.pop(number, None)

    def give_up(self, cause: str) -> None:
        """Hears that a card is of no use, because what drives it is not installed there."""
        self.trouble = cause

    def _better(self, asked: Work, room: Mapping[bool, int], now: float) -> bool:
        """Whether the trial goes on a card: to try it, or because it is to end sooner there."""
        tries = {card: self._tries(card, asked.size, room[card]) for card in room}
        placed = self._placed.values()
        there = {card: [each for each in placed if each.card == card] for card in room}
        untried = [card for card in room if tries[card] < TRIES and len(there[card]) < room[card]]
        if untried:
            return min(untried, key=lambda card: (tries[card], card))

        def end(card: bool) -> tuple[float, float]:
            wait = self._wait(there[card], room[card], now)
            return wait + self._whole(card, asked), wait  # what decides if nothing is known

        return end(True) < end(False)

    def _tries(self, card: bool, size: int, room: int) -> int:
        """Links of a size that a kind of device was measured by, and trials that it is now."""
        kind = card, size
        there = sum((each.card, each.work.size) == kind for each in self._placed.values())
        return len(self._warm[kind]) + max(0, len(self._cold[kind]) - room) + there

    def _wait(self, there: list[_Placed], room: int, now: float) -> float:
        """Seconds until enough of those that are there have ended."""
        if len(there) < room:
            return 0.0
        left = sorted(self._left(each, now) for each in there)
        return left[len(there) - room]

    def _left(self, placed: _Placed, now: float) -> float:
        """Seconds that a trial is still to take; if nothing is known, as many as it has taken."""
        whole = self._whole(placed.card, placed.work)
        spent = now - placed.since
        return max(0.0, whole - spent) if math.isfinite(whole) else spent

    def _whole(self, card: bool, asked: Work) -> float:
        """Seconds of a whole trial; endless if nothing is known."""
        known = self._warm[card, asked.size] or self._cold[card, asked.size]
        return median(known) * asked.steps * asked.epochs if known else math.inf
