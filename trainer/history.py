"""History: what every epoch of a training gave, for each replicate."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from trainer.arrays import Array


class History:
    """Values (E, R) by name, NaN where a replicate was not trained.

    Args:
        first: epochs completed before those that are kept.
        last: epochs completed after them.
        replicates: R.
        names: of values that every history has.
    """

    def __init__(self, first: int, last: int, replicates: int, names: Iterable[str]) -> None:
        self._first, self._shape = first, (max(0, last - first), replicates)
        self._values = {name: np.full(self._shape, np.nan) for name in names}

    def note(self, members: Sequence[int], epoch: int, values: Mapping[str, Array | float]) -> None:
        """Keeps an epoch's values of some replicates: one for each of them, or one for all."""
        row = epoch - self._first - 1
        for name, value in values.items():
            if name not in self._values:
                self._values[name] = np.full(self._shape, np.nan)
            self._values[name][row, members] = value

    def until(self, epoch: int) -> dict[str, Array]:
        """The values of all epochs up to this one."""
        return {name: values[: epoch - self._first] for name, values in self._values.items()}
