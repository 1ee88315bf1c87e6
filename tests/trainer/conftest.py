"""Small data and configurations for the tests of the trainer."""

from typing import Any

import numpy as np
import pytest

from trainer import reading
from trainer.config import Config
from trainer.data import Data, Fold


def config(model: dict[str, Any] | None = None, **training: Any) -> Config:
    """A small net; `training` are fields of the section."""
    return reading.check(
        Config,
        {
            "model": {"hidden": [7, 5], **(model or {})},
            "training": {"epochs": 9, "batch_size": 8, "learning_rate": 0.01, **training},
        },
    )


def fold(rows: int = 61, *, seed: int = 0, features: int = 6, classes: int = 3) -> Fold:
    """Noisy rows around one centre for each class."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((classes, features))

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = generator.integers(0, classes, count)
        x = centres[y] + generator.standard_normal((count, features))
        return x.astype(np.float32), y

    return Fold(*part(rows), *part(23))


@pytest.fixture
def data() -> Data:
    """61 training rows: seven batches of 8 and one of 5."""
    made = fold()
    for array in (made.x_train, made.y_train, made.x_val, made.y_val):
        array.flags.writeable = False
    return Data((made,), 3)
