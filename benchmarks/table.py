"""A table of real learning curves: every cell of a search space (`benchmarks.curves` makes it).

The space of `table.yaml` is cut into cells: its ranges into `CELLS` parts of equal width (on a
logarithmic scale where they have one), conditional ones too. A row is a cell, trained at its
centre. So whatever a sampler suggests lies in one cell, whose curves the table holds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sweep.spec import space
from sweep.spec.study import Study, check
from trainer.arrays import Array
from trainer.config import Config
from trainer.rules import Section

HERE = Path(__file__).parent
FILE = HERE / "table.npz"

CELLS = {
    "model.activation.leaky_relu.alpha": 3,
    "model.activation.elu.alpha": 3,
    "model.dropout": 7,
    "training.learning_rate": 11,
}
"""Into how many cells each range is cut."""


@dataclass(frozen=True)
class Table:
    """The curves; row n is the n-th cell of `cells`.

    Attributes:
        losses: (N, E, 3) validation loss after each epoch, of the replicates that a search sees;
            NaN from the epoch on at which the replicate's loss was no longer finite.
        held_out: (N, 3) validation loss after the last epoch, of further replicates.
        seconds: (N,) processor seconds of an epoch, of all six replicates together.
    """

    losses: Array
    held_out: Array
    seconds: Array

    def values(self) -> Array:
        """(N,) the objective of each row: its last loss, the mean of what a search sees."""
        values: Array = self.losses[:, -1].mean(axis=1)
        return values

    def best(self) -> int:
        """The row with the lowest objective."""
        return int(np.nanargmin(self.values()))


def load(path: Path = FILE) -> Table:
    """Reads the table.

    Raises:
        FileNotFoundError: nobody has made it.
        ValueError: it was made of another space.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: make it (python -m benchmarks.curves)")
    with np.load(path, allow_pickle=False) as found:
        if str(found["space"]) != described():
            raise ValueError(f"{path} was made of another space: make it anew")
        losses, held_out = (found[name].astype(np.float32) for name in ("losses", "held_out"))
        return Table(losses, held_out, found["seconds"])


def values() -> dict[str, Any]:
    """The study whose space the table covers."""
    found: dict[str, Any] = yaml.safe_load((HERE / "table.yaml").read_text())
    return found


def described() -> str:
    """What the rows of a table are, as text."""
    return f"{values()} {CELLS}"


@cache
def study() -> Study:
    """The study, for its space."""
    return check(values())


@cache
def _parameters() -> list[space.Parameter]:
    return study().parameters()


@cache
def gridded() -> Any:
    """The study's template, with the centres of its cells to choose from in place of each range."""
    return _gridded(study().template)


@cache
def cells() -> list[dict[str, space.Scalar]]:
    """The parameters of every row."""
    return list(space.cells(gridded()))


def row(config: Mapping[str, Any]) -> int:
    """The row in whose cell a configuration of the study lies."""
    return _rows()[_key(space.flatten(Section(Config), config))]


@cache
def _rows() -> dict[tuple[space.Scalar, ...], int]:
    return {_key(params): number for number, params in enumerate(cells())}


def _key(params: Mapping[str, space.Scalar]) -> tuple[space.Scalar, ...]:
    """The option of every choice and the number of the cell of every range; None if inactive."""
    return tuple(
        _cell(each, value) if isinstance(each, space.Range) else value
        for each, value in ((each, params.get(each.name)) for each in _parameters())
    )


def _cell(given: space.Range, value: space.Scalar) -> int | None:
    if value is None:
        return None
    assert isinstance(value, int | float)
    low, high = _scaled(given, given.low), _scaled(given, given.high)
    count = CELLS[given.name]
    return min(int((_scaled(given, value) - low) / (high - low) * count), count - 1)


def _gridded(template: Any) -> Any:
    match template:
        case space.Range():
            return space.Choose(template.name, _centres(template), _centres(template))
        case space.Choose():
            return replace(template, options=tuple(map(_gridded, template.options)))
        case dict():
            return {name: _gridded(value) for name, value in template.items()}
        case _:
            return template


def _centres(given: space.Range) -> tuple[float, ...]:
    low, high = _scaled(given, given.low), _scaled(given, given.high)
    count = CELLS[given.name]
    middles = (low + (index + 0.5) / count * (high - low) for index in range(count))
    return tuple(math.exp(middle) if given.log else middle for middle in middles)


def _scaled(given: space.Range, value: float) -> float:
    return math.log(value) if given.log else value
