"""Points that fill a search space evenly, without a look at results."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sweep.spec import space
from sweep.spec.study import Study


def sobol(study: Study) -> Callable[[int], dict[str, space.Scalar]]:
    """Scrambled Sobol points (Owen 1998), a coordinate for every parameter, active or not."""
    from scipy.stats.qmc import Sobol

    coordinate = {each.name: index for index, each in enumerate(study.parameters())}
    dimensions = max(1, len(coordinate))
    size = 64

    @functools.cache
    def block(index: int) -> Any:
        engine = Sobol(dimensions, rng=np.random.default_rng(study.search.seed))
        if index:
            engine.fast_forward(index * size)
        return engine.random(size)

    def point(number: int) -> dict[str, space.Scalar]:
        at = block(number // size)[number % size]
        chosen: dict[str, space.Scalar] = {}

        def suggest(parameter: space.Parameter) -> space.Scalar:
            chosen[parameter.name] = quantile(parameter, float(at[coordinate[parameter.name]]))
            return chosen[parameter.name]

        space.resolve(study.template, suggest)
        return chosen

    return point


def quantile(parameter: space.Parameter, share: float) -> space.Scalar:
    """The value below which `share` of a uniform (or log-uniform) parameter lies."""
    listed = parameter.points()
    if listed is not None and not getattr(parameter, "log", False):
        return listed[min(int(share * len(listed)), len(listed) - 1)]
    assert isinstance(parameter, space.Range)
    low, high = parameter.low, parameter.high
    if parameter.log:
        half = 0.5 if parameter.integer else 0.0  # so that the ends have their full share
        low, high = math.log(low - half), math.log(high + half)
    value = low + share * (high - low)
    value = math.exp(value) if parameter.log else value
    value = round(value) if parameter.integer else value
    return min(max(value, parameter.low), parameter.high)
