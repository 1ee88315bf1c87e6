"""The text of a study file: untrusted YAML in, plain values out, and back.

Numbers and booleans are read as YAML 1.2 has them (`1e-3` is a number, `no` is a string), which
PyYAML's own loader, written for YAML 1.1, does not. Aliases are refused (a few lines of them can
stand for billions of nodes), and so are tags and repeated keys.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from trainer.rules import ConfigError, Problem

LARGEST = 1_000_000
"""The most bytes that a study file may have."""


def _whole(text: str) -> int:
    """The number, if it can be written again: Python reads any hexadecimal one, and writes few."""
    number = int(text, 0 if text[:2] in ("0o", "0x") else 10)
    str(number)
    return number


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        is_alias = isinstance(event, yaml.AliasEvent)
        if is_alias or event.tag is not None:
            kind = "aliases (*name)" if is_alias else "tags (!name)"
            raise yaml.MarkedYAMLError(
                problem=f"{kind} are not allowed", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"a field's name must be a string, got {key!r}",
                    problem_mark=key_node.start_mark,
                )
            if key in keys:
                raise yaml.MarkedYAMLError(
                    problem=f"the field {key!r} stands here twice", problem_mark=key_node.start_mark
                )
            keys.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # YAML 1.1's line break NEL would be read back as another, were it not escaped.
        style = '"' if "\x85" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


def _plainly(plain: type[Any]) -> Any:
    """Dumps what is derived from a plain type as that type: NumPy's float64 is a float."""
    return lambda dumper, value: dumper.represent_data(plain(value))


_Dumper.add_representer(str, _Dumper.represent_text)
for _plain in (dict, list, str, int, float):
    _Dumper.add_multi_representer(_plain, _plainly(_plain))


_Loader.yaml_implicit_resolvers = {}  # none of YAML 1.1's
for _type, _pattern in {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}.items():
    # The dumper keeps those of YAML 1.1 as well: it quotes what either version takes for no string.
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_type}", re.compile(f"^(?:{_pattern})$"), None
        )
_Loader.add_constructor(
    "tag:yaml.org,2002:int",
    lambda loader, node: _whole(node.value),
)
_Loader.add_constructor(
    "tag:yaml.org,2002:float",
    lambda loader, node: float(re.sub(r"\.(?=inf|nan)", "", node.value.lower())),
)


def parse(text: str, name: str) -> Any:
    """The plain values in a YAML text; `name` stands for it in messages.

    Raises:
        ConfigError: the text is not YAML, or uses what study files may not.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ConfigError([Problem(name, f"is not valid YAML: {error.problem}{place}")]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([Problem(name, f"is not valid YAML: {error}")]) from None


def load(path: Path) -> dict[str, Any]:
    """The mapping that a study file holds.

    Raises:
        ConfigError: the file is missing, unreadable, too large, not YAML, or no mapping.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigError([Problem(str(path), f"must have at most {LARGEST} bytes")])
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(str(path), "must be text in UTF-8")]) from None
    values = parse(text, str(path))
    if not isinstance(values, dict):
        found = "an empty file" if values is None else f"a {type(values).__name__}"
        raise ConfigError([Problem(str(path), f"must hold a mapping of fields; this is {found}")])
    return values


def dump(values: Any) -> str:
    """The YAML text of plain values, in their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def compact(value: Any) -> str:
    """A plain value in one line, as YAML writes it in flow style."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=True, width=10_000)
    return text.removesuffix("\n").removesuffix("...").strip()


def override(values: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """A copy of the values with `path=value` assignments (`--set`) made; the value is YAML.

    Raises:
        ConfigError: an assignment has no `=`, or its path runs through what is no mapping.
    """
    for path, value in map(read_assignment, assignments):
        values = assign(values, path, value)
    return values


def read_assignment(assignment: str) -> tuple[str, Any]:
    """The path and the value of a `path=value`.

    Raises:
        ConfigError: it has no `=`, or its value is no YAML.
    """
    path, equals, text = assignment.partition("=")
    if not equals or not path:
        raise ConfigError([Problem("--set", "must be written path=value", assignment)])
    return path, parse(text, f"--set {path}")


def assign(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the values with that at a dotted path replaced.

    Raises:
        ConfigError: the path runs through what is no mapping.
    """
    return _assigned(values, path.split("."), value, path)


def _assigned(values: Any, names: list[str], value: Any, path: str) -> dict[str, Any]:
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError([Problem(f"--set {path}", "runs through a value that is no mapping")])
    first, *rest = names
    below = _assigned(values.get(first), rest, value, path) if rest else value
    return {**values, first: below}
