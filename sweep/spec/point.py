"""A point of a search space as a person gives it: values for some or all of its parameters."""

from collections.abc import Mapping
from typing import Any

from sweep.spec import space
from sweep.spec.claims import match, shown, unknown
from sweep.spec.study import Study
from trainer.reading import UNREAD
from trainer.rules import ConfigError, Problem

LISTED = 20
"""How many options a message names."""


def read_point(study: Study, given: Mapping[str, Any]) -> dict[str, space.Scalar]:
    """The values as the search space names them.

    A parameter that exists only with one option of another needs that option beside it.

    Raises:
        ConfigError: with every mistake found.
    """
    known = {each.name: each for each in study.parameters()}
    problems: list[Problem] = []
    point = {}
    for name, value in given.items():
        if name in known:
            point[name] = _read(known[name], value, problems)
        else:
            problems.append(unknown(name, known, name))
    if not problems:
        reached = _reached(study, point, 0) & _reached(study, point, -1)
        for name in point.keys() - reached:
            rule = "exists only with an option of another field, which must be given too"
            problems.append(Problem(name, rule, point[name]))
    if problems:
        raise ConfigError(problems)
    return point


def _reached(study: Study, point: Mapping[str, space.Scalar], place: int) -> set[str]:
    """The parameters that exist when every choice that is left open falls on that place."""
    reached = set()

    def suggest(parameter: space.Parameter) -> space.Scalar:
        reached.add(parameter.name)
        if isinstance(parameter, space.Choose):
            return point.get(parameter.name, parameter.labels[place])
        return parameter.low

    space.resolve(study.template, suggest)
    return reached


def _read(parameter: space.Parameter, found: Any, problems: list[Problem]) -> space.Scalar:
    options = parameter.points()
    if isinstance(parameter, space.Choose) or options is not None:
        option = match(found, options or ())
        if option is UNREAD:
            listed = ", ".join(map(shown, (options or ())[:LISTED]))
            more = ", …" if len(options or ()) > LISTED else ""
            rule = f"must be an option of the field: {listed}{more}"
            problems.append(Problem(parameter.name, rule, found))
            return None
        known: space.Scalar = option
        return known
    number = isinstance(found, int | float) and not isinstance(found, bool)
    if not number or not parameter.low <= found <= parameter.high:
        rule = f"must be a number from {parameter.low:g} to {parameter.high:g}"
        problems.append(Problem(parameter.name, rule, found))
        return None
    return float(found)
