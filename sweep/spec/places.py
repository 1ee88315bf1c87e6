"""The paths in a study: where the files that it names lie, wherever it is read later.

In a study file they are relative to its folder, on the command line to the current one; from then
on a study holds absolute paths.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.spec.study_file import assign, compact, load, override, parse
from trainer.rules import ConfigError
from trainer.sources import SOURCES

IN_MLFLOW = ("models:/", "runs:/")
"""How the names begin of models to start from that are in MLflow; others are paths."""

START = "model.start_from"

Rename = Callable[[str], str]


class Elsewhere(ConfigError):
    """What a study names can't be looked at here, as data on a cluster's head."""


def opened(file: Path, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """The values of a study file with overrides (`path=value`), its paths made absolute.

    Raises:
        ConfigError: the file can't be read, or an override is none.
    """
    values = placed(load(file), file.absolute().parent)
    return placed(override(values, list(assignments)), Path.cwd())


def placed(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A copy of the values in which relative paths begin at an absolute folder."""
    made = dict(values)
    if (source := _data(made)) and (place := relative(source)):
        kind = source.partition(":")[0]
        made = assign(made, "data.source", f"{kind}:{folder / place}")
    storage = made.get("storage")
    if isinstance(storage, str) and storage and "://" not in storage and storage[0] not in "/~":
        made["storage"] = str(folder / storage)
    return renamed(made, _beginning(folder))


def placed_option(field: str, option: Any, folder: Path) -> Any:
    """An option of a searched field as a study has it whose relative paths begin at the folder."""
    return _renamed(option, field, _beginning(folder)) if _starts(field) else option


def _beginning(folder: Path) -> Rename:
    return lambda name: str(folder / name) if beside(name) else name


def relative(source: str) -> str | None:
    """The path of a data source, if it has one that is relative."""
    kind, _, place = source.partition(":")
    return place if kind in SOURCES and place and not place.startswith("/") else None


def beside(name: str) -> bool:
    """Whether the name of a model to start from is a path that is relative."""
    return bool(name) and not name.startswith((*IN_MLFLOW, "/", "~"))


def models(values: Mapping[str, Any]) -> list[str]:
    """The names of models to start from, in the order of the file, as often as they stand there."""
    found: list[str] = []

    def note(name: str) -> str:
        found.append(name)
        return name

    renamed({**values, "claims": None}, note)
    return found


def renamed(values: Mapping[str, Any], rename: Rename) -> dict[str, Any]:
    """A copy of the values with other names for models to start from, in claims as well."""
    model, claims = values.get("model"), values.get("claims")
    made = dict(values)
    if values.get("trainer") is not None or not isinstance(model, dict):
        return made
    if "start_from" in model:
        start = _renamed(model["start_from"], START, rename)
        made["model"] = {**model, "start_from": start}
    if isinstance(claims, list):
        made["claims"] = [_claim(each, rename) for each in claims]
    return made


def _renamed(found: Any, path: str, rename: Rename) -> Any:
    """The value of a field at or below `model.start_from`, which may be a distribution."""
    match found:
        case str() if path.endswith(".source"):
            return rename(found)
        case list():
            return [_renamed(each, path, rename) for each in found]
        case dict():
            return {
                name: _renamed(each, path if name == "choose" else f"{path}.{name}", rename)
                for name, each in found.items()
            }
    return found


def _claim(claim: Any, rename: Rename) -> Any:
    """A claim that goes by the other names, as far as it is of the right form."""
    if not isinstance(claim, dict):
        return claim
    made = dict(claim)
    for part in ("compare", "where"):
        if isinstance(claim.get(part), dict):
            made[part] = {
                field: _renamed(value, field, rename) if _starts(field) else value
                for field, value in claim[part].items()
            }
    first = next(iter(made["compare"]), None) if isinstance(made.get("compare"), dict) else None
    if _starts(first) and isinstance(claim.get("expect"), str):
        made["expect"] = _expected(claim["expect"], str(first), rename)
    return made


def _starts(field: Any) -> bool:
    """Whether a searched field is, or is below, `model.start_from`."""
    return isinstance(field, str) and f"{field}.".startswith(f"{START}.")


def _expected(expect: str, field: str, rename: Rename) -> str:
    """What a claim expects of a field, as it was written if no name in it changes."""
    for sign in "><":
        sides = expect.split(sign)
        if len(sides) == 2:
            break
    else:
        return expect
    try:
        options = [parse(side.strip(), field) for side in sides]
    except ConfigError:  # left to the rules
        return expect
    others = [_renamed(option, field, rename) for option in options]
    return f" {sign} ".join(map(compact, others)) if others != options else expect


def _data(values: Mapping[str, Any]) -> str | None:
    """The source of the data, as far as the values are of the right form."""
    data = values.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    return source if isinstance(source, str) else None
