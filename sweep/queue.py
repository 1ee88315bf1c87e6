"""Configurations that people want tried next: files in the study's folder, oldest first.

A file stays until the trial that was made of it is on record, and the record names the file; so no
crash loses a configuration or tries it twice. A file that can't be tried is set aside under another
name: it ends no sweep, and whoever put it there finds it again.
"""

import json
import os
import sys
import time
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Wanted(NamedTuple):
    """A configuration that is wanted: its name in the queue, and values by parameter."""

    name: str
    point: Mapping[str, Any]


class Queue:
    """The queue of one study; `path` is its folder, which need not exist."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, point: Mapping[str, Any]) -> None:
        """Adds a configuration, whole or not at all."""
        self._path.mkdir(exist_ok=True)
        name = f"{time.time_ns():020}-{uuid.uuid4().hex}"
        draft = self._path / f".{name}.{os.getpid()}"
        draft.write_text(json.dumps(dict(point), allow_nan=False), encoding="utf-8")
        draft.replace(self._path / f"{name}.json")

    def first(self, *, but: Collection[str] = ()) -> Wanted | None:
        """The oldest configuration, of those whose names are not among `but`.

        Files that hold none are set aside.
        """
        for file in sorted(self._path.glob("*.json")):
            if file.stem in but:
                continue
            try:
                return Wanted(file.stem, _point(file))
            except FileNotFoundError:  # taken back
                continue
            except (OSError, ValueError, RecursionError) as error:
                self.refuse(file.stem, str(error))
        return None

    def refuse(self, name: str, reason: str) -> None:
        """Sets a file aside that can't be tried, as NAME.refused, and prints the reason."""
        aside = (self._path / f"{name}.json").replace(self._path / f"{name}.refused")
        lines = "; ".join(reason.splitlines())
        print(f"warning: {aside} is not tried: {lines}", file=sys.stderr, flush=True)

    def drop(self, name: str) -> None:
        """Removes a configuration, if it is there."""
        (self._path / f"{name}.json").unlink(missing_ok=True)

    def __len__(self) -> int:
        return sum(1 for _ in self._path.glob("*.json"))


def _point(file: Path) -> Mapping[str, Any]:
    point = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(point, dict):
        raise ValueError(f"must be a mapping of parameters, got {type(point).__name__}")
    return point
