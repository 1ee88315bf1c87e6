"""A trained model as one set of arrays: what predicts, and the preprocessing of its features."""

from collections.abc import Mapping, Sequence

import numpy as np

from trainer.arrays import Array
from trainer.preprocessing import Fitted

PREPROCESSING = "preprocessing."
"""Before the names of the preprocessing arrays, by fold: `preprocessing.0.shift`."""


def arrays(learnt: Mapping[str, Array], preprocessing: Sequence[Fitted]) -> dict[str, Array]:
    """What was learnt, by name, and the preprocessing of each fold."""
    fitted = {
        f"{PREPROCESSING}{fold}.{name}": array
        for fold, parts in enumerate(preprocessing)
        for name, array in parts.items()
    }
    return {**learnt, **fitted}


def best_replicate(values: Sequence[float], *, maximize: bool) -> int:
    """The replicate with the best value; of equals the first."""
    return int(np.nanargmax(values) if maximize else np.nanargmin(values))


def weights_of(model: Mapping[str, Array]) -> dict[str, Array]:
    """What was learnt alone."""
    return {name: array for name, array in model.items() if not name.startswith(PREPROCESSING)}
