"""A trial as an MLflow model: its best replicate, with the code that predicts with it.

The model takes the raw features and holds the preprocessing. It is models-from-code and plain
arrays, so that there is no pickle in it.
"""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

import trainer
from sweep import model
from sweep.recording.records import Dataset
from trainer import checkpoint

FOLDER = "model"
"""The folder of a model among the artifacts of its run."""


class WeightsGone(RuntimeError):
    """The file of the weights holds another trial's by now."""


def save(trial: int, weights: Path, data: Dataset, target: Path) -> None:
    """Writes the best replicate of a trial as an MLflow model into the folder `target`.

    Args:
        trial: its number.
        weights: the file with the weights of all replicates, and which is the best.
        data: what the trial was trained on.
        target: a folder that does not exist.

    Raises:
        WeightsGone: the weights are another trial's.
        CheckpointError: they can't be read.
    """
    kept = checkpoint.load(weights)
    if kept.config["trial"] != trial:
        raise WeightsGone(f"{weights.name} holds trial {kept.config['trial']}, not {trial}")
    replicate = int(kept.config["replicate"])
    kind, names = ("classes", data.classes) if data.classes else ("targets", data.targets)
    example = np.array(data.example, dtype=np.float32)
    inputs, outputs = (-1, example.shape[1]), (-1, len(names))
    answers = np.dtype(np.float32 if data.classes else np.float64)
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), inputs)]), Schema([TensorSpec(answers, outputs)])
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.npz")
        checkpoint.save(path, _alone(kept.arrays, replicate), kept.config)
        mlflow.pyfunc.save_model(
            target,
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={"model": str(path)},
            code_paths=[str(Path(trainer.__file__).parent)],
            signature=signature,
            input_example=example,
            pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "numpy")],
            metadata={kind: list(names), "replicate": replicate},
        )


def _alone(arrays: dict[str, Any], replicate: int) -> dict[str, Any]:
    chosen = {
        name: array[replicate : replicate + 1] for name, array in model.weights_of(arrays).items()
    }
    fitted = {
        name.removeprefix(model.PREPROCESSING): array
        for name, array in arrays.items()
        if name.startswith(model.PREPROCESSING)
    }
    folds = {name.partition(".")[0] for name in fitted}
    fold = str(replicate if len(folds) > 1 else 0)
    for name, array in fitted.items():
        own, _, part = name.partition(".")
        if own == fold:
            chosen[f"{model.PREPROCESSING}{part}"] = array
    return chosen
