"""Reading: plain values, as parsed from YAML or JSON, checked against rules in one walk.

`read` fills in the defaults and reports every mistake at once. A study can put a distribution in
the place of any value: `read` hands each node to a `special` reader first (see `sweep.spec.space`).
"""

import keyword
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from trainer.rules import (
    REQUIRED,
    Anything,
    Arguments,
    Choice,
    ConfigError,
    Flag,
    Integer,
    Items,
    Optional,
    Plain,
    Problem,
    Real,
    Rule,
    Section,
    Setting,
    Text,
    build,
    join,
    nearest,
    settings,
)

UNREAD: Any = object()
"""What a special reader returns for a node that it leaves to the rule."""

Special = Callable[[Rule, Any, str, list[Problem]], Any]
T = TypeVar("T")


def check(section: type[T], found: object, path: str = "") -> T:
    """Checks plain values and builds the section from them.

    Raises:
        ConfigError: with every mistake found.
    """
    problems: list[Problem] = []
    tree = read(Section(section), found, path, problems)
    if problems:
        raise ConfigError(problems)
    return build(section, tree)


def read(
    rule: Rule, found: Any, path: str, problems: list[Problem], special: Special | None = None
) -> Any:
    """Checks a plain value against a rule and returns it with its defaults filled in.

    Args:
        rule: what the value must be.
        found: the value: numbers, strings, booleans, None, lists and dicts.
        path: where the value stands, for the messages.
        problems: every mistake is appended here; the value returned is then of no use.
        special: sees every node first; returns `UNREAD` for those that it leaves to the rule.
    """
    if special is not None:
        value = special(rule, found, path, problems)
        if value is not UNREAD:
            return value
    match rule:
        case Real():
            return _read_real(rule, found, path, problems)
        case Integer():
            return _read_integer(rule, found, path, problems)
        case Flag():
            if not isinstance(found, bool):
                problems.append(Problem(path, "must be true or false", found))
            return found
        case Text():
            return _read_text(rule, found, path, problems)
        case Items():
            if not isinstance(found, (list, tuple)) or len(found) < rule.least:
                many = f" of at least {rule.least}" if rule.least else ""
                problems.append(Problem(path, f"must be a list{many}", found))
                return found
            return [
                read(rule.of, each, join(path, index), problems, special)
                for index, each in enumerate(found)
            ]
        case Choice():
            return _read_choice(rule, found, path, problems, special)
        case Optional():
            return None if found is None else read(rule.of, found, path, problems, special)
        case Section():
            if found is None:
                found = {}
            elif rule.shorthand is not None and not isinstance(found, dict):
                found = {rule.shorthand: found}
            return read_settings(settings(rule.of), found, path, problems, special)
        case Anything():
            return found
        case Plain():
            return _read_plain(rule, found, path, problems, special)
        case Arguments():
            return _read_arguments(found, path, problems, special)


def _read_real(rule: Real, found: Any, path: str, problems: list[Problem]) -> Any:
    if rule.word is not None and found == rule.word:
        return found
    if not _is_number(found):
        word = f" or {rule.word}" if rule.word is not None else ""
        problems.append(Problem(path, f"must be a number{word}", found))
    elif not _is_finite(found):
        problems.append(Problem(path, "must be a finite number", found))
    elif not _inside(rule, found):
        problems.append(Problem(path, f"must {_interval(rule)}", found))
    else:
        return float(found)
    return found


def _read_integer(rule: Integer, found: Any, path: str, problems: list[Problem]) -> Any:
    if not _is_number(found) or not _is_finite(found) or found != int(found):
        problems.append(Problem(path, "must be a whole number", found))
    elif found < rule.low or (rule.high is not None and found > rule.high):
        high = "" if rule.high is None else f" and at most {rule.high}"
        problems.append(Problem(path, f"must be at least {rule.low}{high}", found))
    else:
        return int(found)
    return found


def _read_text(rule: Text, found: Any, path: str, problems: list[Problem]) -> Any:
    if not isinstance(found, str) or not re.fullmatch(rule.pattern, found):
        problems.append(Problem(path, f"must be {rule.form}", found))
    return found


def _read_choice(
    rule: Choice, found: Any, path: str, problems: list[Problem], special: Special | None
) -> Any:
    if isinstance(found, dict) and len(found) == 1:
        name, given = next(iter(found.items()))
    else:
        name, given = found, None
    if not isinstance(name, str) or name not in rule.options:
        hint = nearest(name, rule.options)
        problems.append(Problem(path, f"must be one of {', '.join(rule.options)}{hint}", name))
        return found
    given = {} if given is None else given
    parameters = read_settings(rule.options[name], given, join(path, name), problems, special)
    return {name: parameters} if parameters else name


def _read_plain(
    rule: Plain, found: Any, path: str, problems: list[Problem], special: Special | None
) -> Any:
    if isinstance(found, (list, tuple)):
        return [
            read(rule, each, join(path, index), problems, special)
            for index, each in enumerate(found)
        ]
    if found is not None and not isinstance(found, (bool, int, float, str)):
        text = "must be a number, a text, true, false, null or a list of such"
        problems.append(Problem(path, text, found))
    return found


def _read_arguments(found: Any, path: str, problems: list[Problem], special: Special | None) -> Any:
    if found is None:
        return {}
    if not isinstance(found, dict):
        problems.append(Problem(path, "must be a mapping of arguments", found))
        return found
    problems += [
        Problem(join(path, name), "is no name that an argument can have")
        for name in found
        if not str(name).isidentifier() or keyword.iskeyword(name)
    ]
    return {
        name: read(Plain(), each, join(path, name), problems, special)
        for name, each in found.items()
    }


def read_settings(
    entries: Mapping[str, Setting],
    found: Any,
    path: str,
    problems: list[Problem],
    special: Special | None = None,
) -> Any:
    """Checks a mapping against named settings; unknown names are mistakes (see `read`)."""
    if not isinstance(found, dict):
        problems.append(Problem(path, "must be a mapping of fields", found))
        return found
    for name in found:
        if name not in entries:
            hint = nearest(name, entries)
            known = hint or f"; known here: {', '.join(entries) or 'nothing'}"
            problems.append(Problem(join(path, name), f"is not a field{known}"))
    values = {}
    for name, entry in entries.items():
        value = found.get(name, entry.default)
        if value is REQUIRED:
            problems.append(Problem(join(path, name), "is missing"))
        else:
            values[name] = read(entry.rule, value, join(path, name), problems, special)
    return values


def _is_number(found: object) -> bool:
    return isinstance(found, (int, float)) and not isinstance(found, bool)


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an int beyond the largest float
        return False


def _inside(rule: Real, number: float) -> bool:
    above = number > rule.low if rule.open_low else number >= rule.low
    below = number < rule.high if rule.open_high else number <= rule.high
    return above and below


def _interval(rule: Real) -> str:
    if math.isinf(rule.high):
        return f"be {'above' if rule.open_low else 'at least'} {rule.low:g}"
    if math.isinf(rule.low):
        return f"be {'below' if rule.open_high else 'at most'} {rule.high:g}"
    left, right = "(" if rule.open_low else "[", ")" if rule.open_high else "]"
    return f"lie in {left}{rule.low:g}, {rule.high:g}{right}"
