"""Matched configurations: what a claim compares, found in the design of its study.

They are those that are equal in every field but those compared. A parameter that exists for one
option only is a part of that option, so its values are averaged over. A field named by `best_over`
is neither held equal nor averaged over: its values are a side's candidates, one of which is chosen.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sweep.spec import space
from sweep.spec.claims import Claim
from sweep.spec.contradictions import MOST_POINTS
from sweep.spec.study import Study

Cell = frozenset[tuple[str, space.Scalar]]
"""The parameters of a configuration."""


@dataclass
class Side:
    """One option in a matched configuration: the cells of each candidate, by its value.

    Without `best_over` there is one, None.
    """

    candidates: dict[space.Scalar, list[Cell]] = field(default_factory=dict)

    @property
    def cells(self) -> list[Cell]:
        """All of them."""
        return [cell for cells in self.candidates.values() for cell in cells]


Pair = tuple[Side, Side]


def pairs(study: Study, claim: Claim) -> list[Pair]:
    """The matched configurations of a claim, each with its sides; none if values are endless."""
    if any(each.points() is None for each in study.parameters()):
        return []
    if space.count(study.template) > MOST_POINTS:
        return []
    return _matched(space.cells(study.template), claim)


def _matched(cells: Iterable[dict[str, space.Scalar]], claim: Claim) -> list[Pair]:
    apart = [*claim.fields, *([] if claim.best_over is None else [claim.best_over])]
    found: dict[Cell, Pair] = {}
    for cell in cells:
        option = claim.side(cell)
        if option is not None and claim.holds(cell):
            others = frozenset(space.without(cell, apart).items())
            pair = found.setdefault(others, (Side(), Side()))
            side = pair[option]
            value = cell.get(claim.best_over) if claim.best_over is not None else None
            side.candidates.setdefault(value, []).append(frozenset(cell.items()))
    return [pair for pair in found.values() if all(side.candidates for side in pair)]
