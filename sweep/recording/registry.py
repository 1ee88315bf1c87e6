"""The winner of a study as an MLflow model, registered under the study's name.

It holds the replicate with the best validation value. The alias `champion` goes to it when it beats
the standing champion *on the same data*: the same rows, split the same way (a digest says so), and
the same metric. On other data nothing can be said, so the standing champion stays, and the new
version's description tells why. The alias is where whoever serves the model looks, so it never
moves on a guess.
"""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

import trainer
from sweep import model
from sweep.recording import tracking
from sweep.recording.outbox import Run
from sweep.recording.records import Winner
from trainer import checkpoint

CHAMPION = "champion"
FOLDER = "model"
"""The folder of the model among the artifacts of its run."""


class WinnerGone(RuntimeError):
    """The file of the winner's weights holds another trial's by now."""


def register(client: MlflowClient, winner: Winner, run: Run, weights: Path, study: str) -> None:
    """Logs the model in the run of its trial, registers it once, and crowns it if it is due.

    Raises:
        WinnerGone: the weights are another trial's.
        Exception: whatever MLflow raises.
    """
    kept = checkpoint.load(weights)
    if kept.config["trial"] != winner.trial:
        raise WinnerGone(f"{weights.name} holds trial {kept.config['trial']}, not {winner.trial}")
    with tempfile.TemporaryDirectory() as folder:
        save(winner, kept, Path(folder, FOLDER))
        tracking.upload(client.tracking_uri, run.artifact_uri, Path(folder))
    tags = {
        "sweep.trial": str(winner.trial),
        "sweep.data": winner.data,
        "sweep.metric": winner.metric,
        "sweep.value": repr(winner.value),
    }
    made = _version(client, study, run, tags)
    standing = _champion(client, study)
    verdict = _verdict(winner, standing)
    if standing is None or str(standing.version) != str(made.version):
        client.update_model_version(study, made.version, f"#{winner.trial}: {verdict}")
    if verdict.startswith(CHAMPION):
        client.set_registered_model_alias(study, CHAMPION, str(made.version))


def save(winner: Winner, kept: checkpoint.Checkpoint, target: Path) -> None:
    """Writes the winner's best replicate as an MLflow model into the folder `target`."""
    arrays = _replicate(kept.arrays, winner.replicate)
    example = np.array(winner.example, dtype=np.float32)
    inputs, outputs = (-1, example.shape[1]), (-1, len(winner.classes))
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), inputs)]),
        Schema([TensorSpec(np.dtype(np.float32), outputs)]),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.npz")
        checkpoint.save(path, arrays, kept.config)
        mlflow.pyfunc.save_model(
            target,
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={"model": str(path)},
            code_paths=[str(Path(trainer.__file__).parent)],
            signature=signature,
            input_example=example,
            pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "numpy")],
            metadata={"classes": list(winner.classes), "replicate": winner.replicate},
        )


def log_data(client: MlflowClient, run: Run, source: str, digest: str) -> None:
    """Says in a run what data it is about. Doing so again changes nothing."""
    data = Dataset(source[:500], digest[:36], "local", source)
    client.log_inputs(run.run_id, [DatasetInput(data, [])])


def _replicate(arrays: dict[str, Any], replicate: int) -> dict[str, Any]:
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


def _version(client: MlflowClient, study: str, run: Run, tags: dict[str, str]) -> Any:
    """The version of this run: found, or made."""
    try:
        client.create_registered_model(study)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for each in client.search_model_versions(f"name = '{study}'"):
        if each.run_id == run.run_id:
            return each
    source = f"runs:/{run.run_id}/{FOLDER}"
    return client.create_model_version(
        study, source, run.run_id, tags=tags, await_creation_for=None
    )


def _champion(client: MlflowClient, study: str) -> Any:
    try:
        return client.get_model_version_by_alias(study, CHAMPION)
    except MlflowException as error:
        if tracking.is_refusal(error):
            return None
        raise


def _verdict(winner: Winner, standing: Any) -> str:
    """Why it is the champion, or why not."""
    if standing is None:
        return f"{CHAMPION}: the first"
    tags = standing.tags
    if (tags.get("sweep.data"), tags.get("sweep.metric")) != (winner.data, winner.metric):
        return f"not compared: version {standing.version} was judged on other data or otherwise"
    other = float(tags["sweep.value"])
    better = winner.value > other if winner.maximize else winner.value < other
    if better:
        return f"{CHAMPION}: {winner.value:.4g} against {other:.4g} of version {standing.version}"
    return f"version {standing.version} stays with {other:.4g} against {winner.value:.4g}"
