"""How far a trial that is trained again is from the one on record."""

import math

import pytest

from sweep.answers.reproduction import Reproduction, _apart

NAN, INFINITY = math.nan, math.inf


@pytest.mark.parametrize(
    ("then", "now", "apart"),
    [(0.5, 0.5, 0.0), (0.5, 0.75, 0.25), (None, NAN, 0.0), (None, INFINITY, 0.0)],
)
def test_how_far_two_numbers_are_apart(then: float | None, now: float, apart: float) -> None:
    assert _apart(then, now) == apart


def test_what_is_finite_once_alone_is_not_the_same() -> None:
    assert _apart(None, 0.5) == _apart(0.5, NAN) == _apart(0.5, -INFINITY) == INFINITY
    found = Reproduction(3, False, True, None, {}, {}, [])
    assert str(found) == "trial 3 differs: a metric is finite in one of the two alone"
