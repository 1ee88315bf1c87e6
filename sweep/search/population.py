"""Population-based training as a sampler (Jaderberg et al. 2017, arXiv:1711.09846).

A population of nets trains side by side, segment by segment, and each segment is a trial. After a
segment the worst fifth go on from the states of members of the best fifth (exploit), with other
values of what may change while a net trains (explore). A generation begins when the one before it
has ended, so the whole search is a function of its values, whatever the number of workers.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from sweep.search.point_sets import quantile, sobol
from sweep.search.sampler import NOTHING, Params, Result, Segment
from sweep.search.storage import PARENT
from sweep.spec import space
from sweep.spec.contradictions import mutates
from sweep.spec.study import Study

QUANTILE = 0.2
"""The share that goes on from others, and the share that they go on from."""

FACTORS = (0.8, 1.2)
"""By which a number is changed."""

RESAMPLE = 0.25
"""How often a value is drawn anew instead."""


class Population:
    """The members of a study's population; member m trains in trials m, m + P, m + 2P, …."""

    def __init__(self, study: Study, past: Sequence[FrozenTrial]) -> None:
        sampler = study.search.sampler
        self._study = study
        self._size, self._segments = int(sampler["population"]), int(sampler["segments"])
        self._mutable = {each.name: each for each in study.parameters() if mutates(each.name)}
        self._first = sobol(study)
        self._points: dict[int, Params] = {}
        self._parents: dict[int, int | None] = {}
        self._values: dict[int, float | None] = {}
        for each in past:
            self._points[each.number] = dict(each.params)
            self._parents[each.number] = each.user_attrs.get(PARENT)
            if each.state.is_finished():
                complete = each.state is TrialState.COMPLETE
                self._values[each.number] = each.values[0] if complete else None

    def ask(self, number: int, fixed: Mapping[str, space.Scalar] = NOTHING) -> Params | None:
        """The parameters of a segment; None while the generation before has not ended."""
        generation, member = divmod(number, self._size)
        before = range((generation - 1) * self._size, generation * self._size)
        if generation >= self._segments or (generation and not self._ended(before)):
            return None
        stream = np.random.default_rng((self._study.search.seed, number))
        parent = self._parent(before, member, stream) if generation else None
        if parent is None:
            point = self._first(number)
        elif parent == number - self._size:
            point = dict(self._points[parent])
        else:
            point = self._explored(self._points[parent], stream)
        self._points[number], self._parents[number] = point, parent
        return point

    def segment(self, number: int) -> Segment:
        """The trial from whose state a segment starts, and the epoch at which it ends."""
        generation, epochs = number // self._size, self._study.epochs
        until = -(-epochs * (generation + 1) // self._segments)
        return Segment(self._parents.get(number), until)

    def tell(self, number: int, result: Result) -> None:
        """Hears how a segment ended."""
        self._values[number] = result.scores[0] if result.scores else None

    def spent(self, number: int) -> list[int]:
        """The trials from which nothing starts any more, now that `number` has ended."""
        generation = number // self._size
        mine = range(generation * self._size, (generation + 1) * self._size)
        if not self._ended(mine):
            return []
        first = mine.start - self._size
        last = mine.stop if generation == self._segments - 1 else mine.start
        return list(range(max(first, 0), last))

    def _ended(self, numbers: range) -> bool:
        return all(each in self._values for each in numbers)

    def _parent(self, before: range, member: int, stream: np.random.Generator) -> int | None:
        """Whose state a member goes on from: its own, or that of one of the best."""
        whole = [each for each in before if self._values[each] is not None]
        if not whole:
            return None
        ranked = sorted(whole, key=lambda each: self._study.order([self._values[each] or 0], each))
        few = max(1, round(QUANTILE * self._size))
        mine = before[member]
        if mine in ranked[: max(few, self._size - few)]:
            return mine
        return int(stream.choice(ranked[:few]))

    def _explored(self, point: Params, stream: np.random.Generator) -> Params:
        """The point with other values of what may change; a choice stays or is drawn anew."""
        found = dict(point)
        for name, parameter in self._mutable.items():
            if name not in point:
                continue
            if stream.random() < RESAMPLE:
                found[name] = quantile(parameter, stream.random())
            elif isinstance(parameter, space.Range):
                found[name] = _scaled(parameter, point[name], FACTORS[stream.integers(2)])
        return found


def _scaled(parameter: space.Range, value: space.Scalar, factor: float) -> space.Scalar:
    """A number times a factor, moved to the nearest value that the range has."""
    assert isinstance(value, int | float)
    wanted = min(max(value * factor, parameter.low), parameter.high)
    points = parameter.points()
    if points is None:
        return float(wanted)
    return min(points, key=lambda each: abs(float(each or 0) - wanted))
