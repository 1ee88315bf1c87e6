"""The code of a model in MLflow: raw features in, class probabilities or numbers out.

MLflow copies this file and the package `trainer` into the model and runs them from there, so a
model holds text and plain arrays, no pickle, and needs nothing of the sweep.
"""

from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from trainer import checkpoint
from trainer.config import Config
from trainer.prediction import predict
from trainer.preprocessing import transform
from trainer.rules import build
from trainer.tasks import REGRESSION

PREPROCESSING = "preprocessing."


class Served(PythonModel):  # type: ignore[misc]
    """One replicate of a trial with its preprocessing."""

    def load_context(self, context: Any) -> None:
        """Reads the arrays."""
        kept = checkpoint.load(context.artifacts["model"])
        self._config = build(Config, kept.config["config"])
        self._fitted = {
            name.removeprefix(PREPROCESSING): array
            for name, array in kept.arrays.items()
            if name.startswith(PREPROCESSING)
        }
        self._weights = {
            name: array for name, array in kept.arrays.items() if not name.startswith(PREPROCESSING)
        }

    # MLflow takes hints for a schema, in place of the signature, but for that of a bare array.
    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Probabilities (n, K) float32, or numbers in their unit in float64, for rows (n, D)."""
        x = transform(self._fitted, np.asarray(model_input, dtype=np.float32))
        answers: np.ndarray = predict(self._config, self._weights, x)[0]
        return answers if self._config.training.task is REGRESSION else answers.astype(np.float32)


set_model(Served())
