"""The paths in a study: where the files that it names lie, wherever it is read later.

In a study file they are relative to its folder, on the command line to the current one; from then
on a study holds absolute paths.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.spec.study_file import assign, load, override
from trainer.rules import ConfigError
from trainer.sources import SOURCES


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
    return made


def relative(source: str) -> str | None:
    """The path of a data source, if it has one that is relative."""
    kind, _, place = source.partition(":")
    return place if kind in SOURCES and place and not place.startswith("/") else None


def _data(values: Mapping[str, Any]) -> str | None:
    """The source of the data, as far as the values are of the right form."""
    data = values.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    return source if isinstance(source, str) else None
