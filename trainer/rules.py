"""What a configuration may hold: rules as data, and one walk that checks values against them.

A *section* is a frozen dataclass whose fields are declared with `setting`: a default, a rule and a
line of help. `read` checks plain values (as parsed from YAML or JSON) against a rule, fills in the
defaults, and reports every mistake at once, each as the path of its field, the rule and the value
found. `build` turns what `read` returned into instances of the sections.

Rules are data so that a study can put a distribution in the place of any value: `read` hands each
node to a `special` reader first (see `sweep.spec.space`).
"""

import dataclasses
import difflib
import keyword
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

REQUIRED: Any = dataclasses.MISSING
"""The default of a setting that has none."""

UNSAID: Any = ...
"""What was found where there is nothing to show."""


@dataclass(frozen=True)
class Real:
    """A finite number between bounds; `open_low` and `open_high` leave out the bound itself."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False


@dataclass(frozen=True)
class Integer:
    """A whole number between bounds, both included."""

    low: int
    high: int | None = None


@dataclass(frozen=True)
class Flag:
    """True or false."""


@dataclass(frozen=True)
class Text:
    """A string that is not empty; `form` says in words what `pattern` demands."""

    pattern: str = r"(?s).+"
    form: str = "text"


@dataclass(frozen=True)
class Items:
    """A list of at least `least` values, each under the rule `of`."""

    of: "Rule"
    least: int = 0


@dataclass(frozen=True)
class Choice:
    """One of several techniques by name, each with parameters of its own.

    Written as a name (`relu`) or as a name with parameters (`{leaky_relu: {alpha: 0.1}}`).
    """

    options: Mapping[str, Mapping[str, "Setting"]]


@dataclass(frozen=True)
class Optional:
    """A value under the rule `of`, or null."""

    of: "Rule"


@dataclass(frozen=True)
class Section:
    """A mapping with the settings of the section class `of`.

    `shorthand` names the setting that a value which is no mapping stands for. Null, which is what
    YAML makes of a section with nothing in it, is the section with all its defaults.
    """

    of: type[Any]
    shorthand: str | None = None


@dataclass(frozen=True)
class Anything:
    """Any value: the field is checked by whoever reads it."""


@dataclass(frozen=True)
class Plain:
    """A number, a text, true, false, null, or a list of such: a value that is handed on."""


@dataclass(frozen=True)
class Arguments:
    """A mapping of names, which somebody else knows, to values under the rule `Plain`."""


Rule = (
    Real
    | Integer
    | Flag
    | Text
    | Items
    | Choice
    | Optional
    | Section
    | Anything
    | Plain
    | Arguments
)


@dataclass(frozen=True)
class Setting:
    """One field: its default, its rule and a line of help."""

    default: Any
    rule: Rule
    note: str


@dataclass(frozen=True)
class Technique:
    """A chosen technique: its name and the values of its parameters."""

    name: str
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __getitem__(self, parameter: str) -> Any:
        return self.parameters[parameter]


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is, the rule that it breaks, and what was found there."""

    path: str
    rule: str
    found: Any = UNSAID

    def __str__(self) -> str:
        text = f"{self.path}: {self.rule}" if self.path else self.rule
        return text if self.found is UNSAID else f"{text}, got {_shown(self.found)}"


class ConfigError(ValueError):
    """Values that break the rules; `problems` holds every mistake found."""

    def __init__(self, problems: Sequence[Problem]):
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[tuple[Problem, ...]]]:
        return ConfigError, (self.problems,)


UNREAD: Any = object()
"""What a special reader returns for a node that it leaves to the rule."""

Special = Callable[[Rule, Any, str, list[Problem]], Any]
T = TypeVar("T")


def setting(default: Any, rule: Rule, note: str) -> Any:
    """Declares a field of a section: default (`REQUIRED` for none), rule, a line of help."""
    if default is REQUIRED or not isinstance(default, (list, dict)):
        return dataclasses.field(
            default=default, metadata={"setting": Setting(default, rule, note)}
        )
    raise TypeError(f"a default is shared by all instances, so it must be immutable: {default!r}")


@dataclass_transform(field_specifiers=(setting,), frozen_default=True)
def section(cls: type[T]) -> type[T]:
    """Makes a class of `setting` fields a section: a frozen dataclass."""
    return dataclass(frozen=True)(cls)


def settings(section: type[Any]) -> dict[str, Setting]:
    """The settings of a section class by name."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(section)}


def join(path: str, name: object) -> str:
    """The path of the field `name` under `path`."""
    return f"{path}.{name}" if path else str(name)


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


def build(section: type[T], tree: Mapping[str, Any]) -> T:
    """Instances of a section and of those inside it, from the values that `read` returned."""
    return section(
        **{name: _built(entry.rule, tree[name]) for name, entry in settings(section).items()}
    )


def _built(rule: Rule, value: Any) -> Any:
    match rule:
        case Section():
            return build(rule.of, value)
        case Optional():
            return None if value is None else _built(rule.of, value)
        case Items():
            return tuple(_built(rule.of, each) for each in value)
        case Choice():
            name, parameters = named(value)
            rules = rule.options[name]
            return Technique(name, {k: _built(rules[k].rule, v) for k, v in parameters.items()})
        case _:
            return value


def named(value: Any) -> tuple[str, Mapping[str, Any]]:
    """The name and the parameters of a choice as `read` returns it."""
    if isinstance(value, str):
        return value, {}
    ((name, parameters),) = value.items()
    return name, parameters


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
    if not _is_number(found):
        problems.append(Problem(path, "must be a number", found))
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


def nearest(name: object, known: Mapping[str, Any]) -> str:
    """A hint at the known name that is most like `name`, or nothing."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


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


def _shown(found: Any) -> str:
    text = "null" if found is None else repr(found)
    return text if len(text) <= 80 else f"{text[:77]}..."
