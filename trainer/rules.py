"""What a configuration may hold: rules as data.

A *section* is a frozen dataclass whose fields are declared with `setting`: a default, a rule and a
line of help. `trainer.reading` checks plain values against the rules; `build` turns what it returns
into instances of the sections.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

REQUIRED: Any = dataclasses.MISSING
"""The default of a setting that has none."""

UNSAID: Any = ...
"""What was found where there is nothing to show."""


@dataclass(frozen=True)
class Real:
    """A finite number between bounds; `open_low` and `open_high` leave out the bound itself.

    `word`, if there is one, may stand in its place.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    word: str | None = None


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


def nearest(name: object, known: Mapping[str, Any]) -> str:
    """A hint at the known name that is most like `name`, or nothing."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _shown(found: Any) -> str:
    text = "null" if found is None else repr(found)
    return text if len(text) <= 80 else f"{text[:77]}..."
