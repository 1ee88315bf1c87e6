"""The sampler as the search sees it: who chooses the next configuration."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from optuna.trial import TrialState

from sweep.spec import space

Params = dict[str, space.Scalar]

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Result(NamedTuple):
    """How a trial ended.

    Optuna's state, the objectives' values of one that is complete, the values at rungs, and how far
    it is beyond each constraint.
    """

    state: TrialState
    scores: Sequence[float] | None
    reports: Mapping[int, float]
    excess: Mapping[str, float] = NOTHING


class Segment(NamedTuple):
    """A trial that trains a part of the epochs: from whose state it starts, and where it ends."""

    parent: int | None
    until: int


class Sampler(Protocol):
    """Chooses configurations. Used from one thread; trials are asked for in number order."""

    def ask(self, number: int, fixed: Mapping[str, space.Scalar] = NOTHING) -> Params | None:
        """The parameters of trial `number`, some of them fixed; None while nothing can be tried."""

    def tell(self, number: int, result: Result) -> None:
        """Hears how a trial ended."""

    def segment(self, number: int) -> Segment | None:
        """What trial `number` trains, if that is not all epochs from the first."""

    def spent(self, number: int) -> list[int]:
        """The trials from whose states none starts any more, now that `number` has ended."""


class Whole:
    """What samplers have in common whose trials train from the first epoch to the last."""

    def segment(self, number: int) -> Segment | None:
        """None: everything."""
        return None

    def spent(self, number: int) -> list[int]:
        """The trial that has ended."""
        return [number]
