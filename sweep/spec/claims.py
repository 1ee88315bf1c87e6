"""Claims: what a study expects of two options of a field, checked against its search space.

A claim is untrusted text; its `expect` is compared with the forms it may have, never evaluated.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.spec import space
from sweep.spec.study_file import compact, parse
from trainer.reading import UNREAD
from trainer.rules import ConfigError, Problem, join, nearest

Option = tuple[space.Scalar, ...]
"""A value of each of the fields that a claim compares, in their order."""


@dataclass(frozen=True)
class Claim:
    """A checked claim: `by` is larger (or smaller) with the first option than with the second.

    Attributes:
        name: what it is called.
        fields: the parameters whose options are compared; several change together.
        options: the two options, in the order of `compare`; effects are first minus second.
        where: the other parameters that are held at a value.
        best_over: the parameter of which either option is taken at its own best value.
        larger: whether the effect is expected above `margin`, or else below its negative.
        by: the metric.
        margin: the smallest effect of interest, in the metric's unit.
    """

    name: str
    fields: tuple[str, ...]
    options: tuple[Option, Option]
    where: Mapping[str, space.Scalar]
    best_over: str | None
    larger: bool
    by: str
    margin: float

    @property
    def difference(self) -> str:
        """What the effect is."""
        first, second = map(told, self.options)
        return f"{first} − {second}"

    def side(self, params: Mapping[str, space.Scalar]) -> int | None:
        """Which of the two options these parameters have, if they have one."""
        if not all(name in params for name in self.fields):
            return None
        option = tuple(params[name] for name in self.fields)
        return self.options.index(option) if option in self.options else None

    def holds(self, params: Mapping[str, space.Scalar]) -> bool:
        """Whether these parameters have what `where` holds."""
        return all(name in params and params[name] == each for name, each in self.where.items())

    def __str__(self) -> str:
        first, second = map(told, self.options)
        by = f" by {self.margin:g}" if self.margin else ""
        held = " and ".join(f"{name} = {shown(value)}" for name, value in self.where.items())
        where = f" where {held}" if held else ""
        best = f" at the best {self.best_over} of each" if self.best_over else ""
        return f"{self.by}: {first} {'>' if self.larger else '<'} {second}{by}{best}{where}"


def shown(option: space.Scalar) -> str:
    """An option as a study file has it; the search space knows lists by their text."""
    return option if isinstance(option, str) else compact(option)


def told(option: Option) -> str:
    """What stands for one of the two options."""
    return ", ".join(map(shown, option))


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
        fields, options = compared
        held = join(path, "where")
        both = [field for field in fields if field in where]
        problems += [Problem(join(held, field), "is what is compared") for field in both]
        best_over = each["best_over"]
        if best_over is not None:
            taken = {*fields, *where}
            problems += _unchosen(best_over, by_name, taken, join(path, "best_over"))
        sides = options[0][0], options[1][0]
        larger = _larger(each["expect"], sides, join(path, "expect"), problems)
        by, margin = each["by"] or metric, each["margin"]
        claims.append(Claim(each["name"], fields, options, where, best_over, larger, by, margin))
    return tuple(claims)


Space = Mapping[str, space.Parameter]


def _compared(
    found: Any, known: Space, path: str, problems: list[Problem]
) -> tuple[tuple[str, ...], tuple[Option, Option]] | None:
    """The fields that are compared and the two options; None after a mistake."""
    if not isinstance(found, dict) or not found:
        rule = "must name a field with two of its options, or several that change together"
        problems.append(Problem(path, rule, found))
        return None
    pairs = [
        _pair(field, pair, known, join(path, field), problems) for field, pair in found.items()
    ]
    read = [each for each in pairs if each is not None]
    if len(read) < len(pairs):
        return None
    first, second = zip(*read, strict=True)
    return tuple(found), (first, second)


def _pair(
    field: str, pair: Any, known: Space, below: str, problems: list[Problem]
) -> tuple[space.Scalar, space.Scalar] | None:
    """The two options of one field; None after a mistake."""
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
    return options


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
