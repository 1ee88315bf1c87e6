"""Claims: what a study expects of two options of one field, checked against its search space.

A claim is untrusted text; its `expect` is compared with the forms it may have, never evaluated.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.spec import space
from sweep.spec.study_file import compact, parse
from trainer.reading import UNREAD
from trainer.rules import ConfigError, Problem, join, nearest


@dataclass(frozen=True)
class Claim:
    """A checked claim: `by` is larger (or smaller) with the first option than with the second.

    Attributes:
        name: what it is called.
        field: the name of the parameter whose options are compared.
        options: the two options, in the order of `compare`; effects are first minus second.
        where: the other parameters that are held at a value.
        best_over: the parameter of which either option is taken at its own best value.
        larger: whether the effect is expected above `margin`, or else below its negative.
        by: the metric.
        margin: the smallest effect of interest, in the metric's unit.
    """

    name: str
    field: str
    options: tuple[space.Scalar, space.Scalar]
    where: Mapping[str, space.Scalar]
    best_over: str | None
    larger: bool
    by: str
    margin: float

    @property
    def difference(self) -> str:
        """What the effect is."""
        first, second = map(shown, self.options)
        return f"{first} − {second}"

    def __str__(self) -> str:
        first, second = map(shown, self.options)
        by = f" by {self.margin:g}" if self.margin else ""
        held = " and ".join(f"{name} = {shown(value)}" for name, value in self.where.items())
        where = f" where {held}" if held else ""
        best = f" at the best {self.best_over} of each" if self.best_over else ""
        return f"{self.by}: {first} {'>' if self.larger else '<'} {second}{by}{best}{where}"


def shown(option: space.Scalar) -> str:
    """An option as a study file has it; the search space knows lists by their text."""
    return option if isinstance(option, str) else compact(option)


def read_claims(
    given: Sequence[Mapping[str, Any]],
    parameters: Sequence[space.Parameter],
    metric: str,
    problems: list[Problem],
) -> tuple[Claim, ...]:
    """The claims of a study, from what the rules have let through.

    Args:
        given: the values of each claim's section.
        parameters: the search space.
        metric: the objective's, which a claim goes by unless it names another.
        problems: every mistake is appended here.
    """
    by_name = {each.name: each for each in parameters}
    names = [each["name"] for each in given]
    claims = []
    for index, each in enumerate(given):
        path = join("claims", index)
        if each["name"] in names[:index]:
            rule = "is the name of an earlier claim"
            problems.append(Problem(join(path, "name"), rule, each["name"]))
        compared = _compared(each["compare"], by_name, join(path, "compare"), problems)
        where = _where(each["where"], by_name, join(path, "where"), problems)
        if compared is None:
            continue
        field, options = compared
        if field in where:
            problems.append(Problem(join(join(path, "where"), field), "is what is compared"))
        best_over = each["best_over"]
        if best_over is not None:
            taken = {field, *where}
            problems += _unchosen(best_over, by_name, taken, join(path, "best_over"))
        larger = _larger(each["expect"], options, join(path, "expect"), problems)
        by, margin = each["by"] or metric, each["margin"]
        claims.append(Claim(each["name"], field, options, where, best_over, larger, by, margin))
    return tuple(claims)


Space = Mapping[str, space.Parameter]


def _compared(
    found: Any, known: Space, path: str, problems: list[Problem]
) -> tuple[str, tuple[space.Scalar, space.Scalar]] | None:
    """The field that is compared and its two options; None after a mistake."""
    if not isinstance(found, dict) or len(found) != 1:
        problems.append(Problem(path, "must name one field, with two of its options", found))
        return None
    ((field, pair),) = found.items()
    below = join(path, field)
    if field not in known:
        problems.append(unknown(field, known, below))
        return None
    if not isinstance(pair, list) or len(pair) != 2:
        problems.append(Problem(below, "must be a list of two options", pair))
        return None
    before = len(problems)
    if known[field].points() is None:
        rule = "has endless values, so it has no options to compare: give it a step"
        problems.append(Problem(below, rule))
        return None
    options = (
        _option(pair[0], known[field], below, problems),
        _option(pair[1], known[field], below, problems),
    )
    if len(problems) > before:
        return None
    if options[0] == options[1]:
        problems.append(Problem(below, "must be two different options", pair))
        return None
    return field, options


def _where(found: Any, known: Space, path: str, problems: list[Problem]) -> dict[str, space.Scalar]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        problems.append(Problem(path, "must be a mapping of fields", found))
        return {}
    held = {}
    for field, value in found.items():
        if field in known:
            held[field] = _option(value, known[field], join(path, field), problems)
        else:
            problems.append(unknown(field, known, join(path, field)))
    return held


def _unchosen(field: str, known: Space, taken: Collection[str], path: str) -> Iterator[Problem]:
    """Why there is no best value of a field to be taken, if there isn't."""
    if field not in known:
        yield unknown(field, known, path)
    elif field in taken:
        yield Problem(path, "must be a field that is neither compared nor held", field)
    elif known[field].points() is None:
        yield Problem(
            path, "has endless values, so none of them is the best: give it a step", field
        )


def unknown(field: str, known: Space, path: str) -> Problem:
    """The mistake of naming a field that is not searched."""
    hint = nearest(field, known)
    there = hint or f"; searched here: {', '.join(known) or 'nothing'}"
    return Problem(path, f"is not a field that is searched{there}")


def _option(
    found: Any, parameter: space.Parameter, path: str, problems: list[Problem]
) -> space.Scalar:
    options = parameter.points()
    if options is None:
        rule = "has endless values, so it can't be held at one: give it a step"
        problems.append(Problem(path, rule))
        return None
    option = match(found, options)
    if option is UNREAD:
        listed = ", ".join(map(shown, options[:20])) + (", …" if len(options) > 20 else "")
        problems.append(Problem(path, f"must be an option of the field: {listed}", found))
        return None
    known: space.Scalar = option
    return known


def match(found: Any, options: Sequence[space.Scalar]) -> Any:
    """The option that a value stands for, as the search space names it; else `UNREAD`."""
    if found is UNREAD:
        return UNREAD
    plain = found is None or isinstance(found, bool | int | float | str)
    names = [found] if plain else [compact(found)]
    if isinstance(found, dict) and len(found) == 1:
        names += found  # a technique with parameters may go by its name
    for name in names:
        for option in options:
            if option == name and isinstance(option, bool) == isinstance(name, bool):
                return option
    return UNREAD


def _larger(
    expect: str, options: tuple[space.Scalar, space.Scalar], path: str, problems: list[Problem]
) -> bool:
    """Whether the first of the two options is expected to have the larger value."""
    for sign in "><":
        left, found, right = expect.partition(sign)
        if found:
            sides = [match(_parsed(side, path), options) for side in (left, right)]
            if sides == list(options):
                return sign == ">"
            if sides == list(reversed(options)):
                return sign == "<"
    first, second = map(shown, options)
    rule = f"must be `{first} > {second}` or `{first} < {second}`"
    problems.append(Problem(path, rule, expect))
    return True


def _parsed(text: str, path: str) -> Any:
    try:
        return parse(text.strip(), path)
    except ConfigError:
        return UNREAD
