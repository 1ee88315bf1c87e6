"""The search space: distributions that stand in the place of values, and what to do with them.

A *template* is a tree of plain values (as `trainer.reading.read` returns it) in which a `Range` or
a `Choose` stands wherever the study file has `{low, high}` or `{choose: [...]}`. A parameter's name
is the path of its field; below a chosen technique, the technique's name is part of the path, so
that conditional parameters never share a name (`model.activation.elu.alpha`).
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sweep.spec.study_file import compact
from trainer.reading import UNREAD, read, read_settings
from trainer.rules import (
    Arguments,
    Choice,
    Integer,
    Optional,
    Plain,
    Problem,
    Real,
    Rule,
    Section,
    join,
    named,
    settings,
)

Scalar = bool | int | float | str | None

MOST_STEPS = 1_000_000
"""The most steps that a range may have."""

MOST_WHOLE = 2**53
"""The largest whole number up to which samplers, which calculate with floats, meet every one."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; in steps, or evenly on a logarithmic scale."""

    name: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    integer: bool = False

    def points(self) -> Sequence[Scalar] | None:
        """The values of a range in steps; None where there are infinitely many."""
        if self.integer:
            return range(int(self.low), int(self.high) + 1, int(self.step or 1))
        if self.step is None:
            return None
        low, high, step = map(_exact, (self.low, self.high, self.step))
        return [float(low + index * step) for index in range(int((high - low) / step) + 1)]

    def __str__(self) -> str:
        kind = "log " if self.log else ""
        step = f" step {self.step:g}" if self.step is not None else ""
        return f"{kind}{'int' if self.integer else 'float'} {self.low:g} … {self.high:g}{step}"


@dataclass(frozen=True)
class Choose:
    """One of several options; the sampler sees `labels`, and `options` may hold more ranges."""

    name: str
    labels: tuple[Scalar, ...]
    options: tuple[Any, ...]

    def points(self) -> Sequence[Scalar]:
        """The labels."""
        return self.labels

    def __str__(self) -> str:
        return " | ".join("null" if label is None else str(label) for label in self.labels)


def _exact(number: float) -> Fraction:
    """As the number is written: in binary, 0.7 is no multiple of 0.1."""
    return Fraction(str(number))


Parameter = Range | Choose
Suggest = Callable[[Parameter], Scalar]


def distribution(rule: Rule, found: Any, path: str, problems: list[Problem]) -> Any:
    """Reads a distribution in the place of a value: a special reader for `trainer.reading.read`."""
    if isinstance(rule, Section) and rule.shorthand is not None and not _is_choose(found):
        return _read_short(rule, rule.shorthand, found, path, problems)
    if not isinstance(found, dict) or not ({"low", "high", "choose"} & set(found)):
        return UNREAD
    if "choose" in found:
        return _read_choose(rule, found, path, problems)
    match rule:
        case Real() | Integer():
            return _read_range(rule, found, path, problems)
        case Plain():
            return _read_range(_as_written(found), found, path, problems)
        case Section() | Optional():
            return UNREAD
    problems.append(Problem(path, "is not a number, so it takes {choose: [...]}", found))
    return found


def _as_written(found: Mapping[str, Any]) -> Real | Integer:
    """The rule of a range of which nothing else is known: whole numbers, if it is written so."""
    whole = all(isinstance(found.get(part, 0), int) for part in ("low", "high", "step"))
    return Integer(-MOST_WHOLE, MOST_WHOLE) if whole else Real()


def _is_choose(found: Any) -> bool:
    return isinstance(found, dict) and "choose" in found


def _read_short(
    rule: Section, shorthand: str, found: Any, path: str, problems: list[Problem]
) -> Any:
    """A section whose shorthand goes by the section's own path, however it is written."""
    if found is None:
        found = {}
    elif not isinstance(found, dict) or {"low", "high"} & set(found):
        found = {shorthand: found}
    rest = {name: value for name, value in found.items() if name != shorthand}
    values = read_settings(settings(rule.of), rest, path, problems, distribution)
    if shorthand in found:
        own = settings(rule.of)[shorthand].rule
        values[shorthand] = read(own, found[shorthand], path, problems, distribution)
    return values


def _read_range(rule: Real | Integer, found: Any, path: str, problems: list[Problem]) -> Any:
    before = len(problems)
    for name in found:
        if name not in ("low", "high", "log", "step"):
            text = "is not a part of a range; its parts are low, high, log, step"
            problems.append(Problem(join(path, name), text))
    ends = {}
    for end in ("low", "high"):
        if end in found:
            ends[end] = read(rule, found[end], join(path, end), problems)
        else:
            problems.append(Problem(join(path, end), "is missing"))
    log, step = found.get("log", False), found.get("step")
    if not isinstance(log, bool):
        problems.append(Problem(join(path, "log"), "must be true or false", log))
    if step is not None:
        above_zero = Integer(1) if isinstance(rule, Integer) else Real(0, open_low=True)
        step = read(above_zero, step, join(path, "step"), problems)
    if len(problems) > before:
        return found
    low, high = ends["low"], ends["high"]
    integer = isinstance(rule, Integer)
    if low >= high:
        problems.append(Problem(path, "low must be below high", found))
    elif not integer and math.isinf(high - low):
        problems.append(Problem(path, "must be narrower than the largest number there is", found))
    elif log and low <= 0:
        problems.append(Problem(path, "a log range must start above 0", found))
    elif log and step is not None:
        problems.append(Problem(path, "takes log or step, not both", found))
    elif (integer or step is not None) and (high - low) / (step or 1) > MOST_STEPS:
        problems.append(Problem(path, f"takes at most {MOST_STEPS} steps", found))
    elif step is not None and (_exact(high) - _exact(low)) % _exact(step):
        problems.append(Problem(path, "step must divide the way from low to high", found))
    return Range(path, low, high, log, step, integer)


def _read_choose(rule: Rule, found: Any, path: str, problems: list[Problem]) -> Any:
    given = found["choose"]
    if set(found) != {"choose"}:
        problems.append(Problem(path, "choose stands alone in its mapping", found))
    if not isinstance(given, list) or not given:
        problems.append(Problem(join(path, "choose"), "must be a list of options", given))
        return found
    labels = _labels(rule, given)
    if len(set(labels)) < len(labels):
        problems.append(Problem(join(path, "choose"), "has the same option twice", given))
    options = []
    for index, (option, label) in enumerate(zip(given, labels, strict=True)):
        # what is known to the sampler by its own name needs no other; the rest goes by its place
        named_so = _is_scalar(option) or (isinstance(option, dict) and label in option)
        below = path if named_so else join(path, index)
        options.append(read(rule, option, below, problems, distribution))
    return Choose(path, labels, tuple(options))


def _labels(rule: Rule, given: list[Any]) -> tuple[Scalar, ...]:
    """What the sampler sees: a number or name as it is, a technique's name, else compact YAML."""
    names = []
    for option in given:
        if isinstance(rule, Choice) and isinstance(option, dict) and len(option) == 1:
            names.append(next(iter(option)))
        else:
            names.append(option if _is_scalar(option) else compact(option))
    own = [name for name in names if names.count(name) == 1 and name != "choose"]
    return tuple(
        name if _is_scalar(option) or name in own else compact(option)
        for name, option in zip(names, given, strict=True)
    )


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def resolve(template: Any, suggest: Suggest) -> Any:
    """The plain values that a template gives once every active parameter has been suggested."""
    match template:
        case Range():
            return suggest(template)
        case Choose():
            label = suggest(template)
            return resolve(template.options[template.labels.index(label)], suggest)
        case dict():
            return {name: resolve(value, suggest) for name, value in template.items()}
        case list() | tuple():
            return [resolve(value, suggest) for value in template]
        case _:
            return template


def parameters(template: Any) -> list[Parameter]:
    """Every parameter of a template, conditional ones included, in the order of the file."""
    match template:
        case Range():
            return [template]
        case Choose():
            return [template, *itertools.chain.from_iterable(map(parameters, template.options))]
        case dict():
            return list(itertools.chain.from_iterable(map(parameters, template.values())))
        case list() | tuple():
            return list(itertools.chain.from_iterable(map(parameters, template)))
        case _:
            return []


def count(template: Any) -> int:
    """How many `cells` there are.

    Raises:
        ValueError: names a parameter that has infinitely many values.
    """
    match template:
        case Range():
            return len(_points(template))
        case Choose():
            return sum(map(count, template.options))
        case dict() | list() | tuple():
            parts = template.values() if isinstance(template, dict) else template
            return math.prod(map(count, parts))
        case _:
            return 1


def cells(template: Any) -> Iterator[dict[str, Scalar]]:
    """Every combination of parameter values, in the order of the file; the last varies fastest.

    Raises:
        ValueError: names a parameter that has infinitely many values.
    """
    match template:
        case Range():
            yield from ({template.name: point} for point in _points(template))
        case Choose():
            for label, option in zip(template.labels, template.options, strict=True):
                for below in cells(option):
                    yield {template.name: label, **below}
        case dict() | list() | tuple():
            parts = template.values() if isinstance(template, dict) else template
            yield from _products(list(parts))
        case _:
            yield {}


def without(cell: Mapping[str, Scalar], fields: Iterable[str]) -> dict[str, Scalar]:
    """A combination less some fields, and less what exists only below their options."""
    gone = tuple(fields)
    below = tuple(f"{field}." for field in gone)
    return {
        name: value
        for name, value in cell.items()
        if name not in gone and not name.startswith(below)
    }


def _points(parameter: Range) -> Sequence[Scalar]:
    points = parameter.points()
    if points is None:
        raise ValueError(parameter.name)
    return points


def _products(parts: list[Any]) -> Iterator[dict[str, Scalar]]:
    if not parts:
        yield {}
        return
    for first in cells(parts[0]):
        for rest in _products(parts[1:]):
            yield {**first, **rest}


def flatten(rule: Rule, tree: Any, path: str = "") -> dict[str, Scalar]:
    """The plain values under a rule as one level: dotted paths to scalars, lists as compact YAML.

    A chosen technique is its name; its parameters follow below that name. What a section's
    shorthand stands for goes by the section's own path.
    """
    return dict(_flat(rule, tree, path))


def _flat(rule: Rule, tree: Any, path: str) -> Iterator[tuple[str, Scalar]]:
    match rule:
        case Section():
            for name, entry in settings(rule.of).items():
                below = path if name == rule.shorthand else join(path, name)
                yield from _flat(entry.rule, tree[name], below)
        case Choice():
            chosen, given = named(tree)
            yield path, chosen
            for name, value in given.items():
                rule_of_value = rule.options[chosen][name].rule
                yield from _flat(rule_of_value, value, join(join(path, chosen), name))
        case Optional() if tree is not None:
            yield from _flat(rule.of, tree, path)
        case Arguments():
            for name, value in tree.items():
                yield from _flat(Plain(), value, join(path, name))
        case _:
            yield path, tree if _is_scalar(tree) else compact(tree)
