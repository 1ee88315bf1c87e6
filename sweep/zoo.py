"""Models that nets start from: files, or models and runs in MLflow, by name."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sweep import model
from trainer import checkpoint
from trainer.arrays import Array
from trainer.rules import ConfigError, Problem

MODEL = Path("artifacts", "model.npz")
"""Where a model that this program has logged holds its arrays."""

SCHEMES = ("models:/", "runs:/")


def load(source: str, tracking_uri: str) -> dict[str, Array]:
    """The weights (R, …) by name.

    Args:
        source: the path of a checkpoint (`best --export` and the artifact `weights.npz` are such),
            `models:/NAME@ALIAS` or `models:/NAME/VERSION`, or `runs:/RUN_ID/weights.npz`.
        tracking_uri: the MLflow store in which names are looked up.

    Raises:
        ConfigError: there is none of that name, or it is of no use.
    """
    try:
        if source.startswith(SCHEMES):
            return _downloaded(source, tracking_uri)
        return _weights(Path(source).expanduser())
    except (checkpoint.CheckpointError, _Absent) as error:
        raise ConfigError([Problem("model.start_from.source", str(error))]) from None


class _Absent(Exception):
    """MLflow has no such model."""


def _downloaded(source: str, tracking_uri: str) -> dict[str, Array]:
    from mlflow.exceptions import MlflowException

    from sweep.recording import tracking

    with tempfile.TemporaryDirectory() as folder:
        try:
            client = tracking.connect(tracking_uri)
            if source.startswith("models:/"):
                source = _version(client, source.removeprefix("models:/")).source
            run, _, path = source.removeprefix("runs:/").partition("/")
            found = Path(client.download_artifacts(run, path, folder))
        except (MlflowException, tracking.TrackingError, OSError, ValueError) as error:
            raise _Absent(f"{source}: {error}") from error
        return _weights(found / MODEL if found.is_dir() else found)


def _version(client: Any, name: str) -> Any:
    model, at, alias = name.partition("@")
    if at:
        return client.get_model_version_by_alias(model, alias)
    model, slash, version = name.partition("/")
    if not slash:
        raise ValueError("must be models:/NAME@ALIAS or models:/NAME/VERSION")
    return client.get_model_version(model, version)


def _weights(path: Path) -> dict[str, Array]:
    kept = model.weights_of(checkpoint.load(path).arrays)
    for name, array in kept.items():
        if array.dtype.kind not in "fi" or not np.isfinite(array).all():
            raise checkpoint.CheckpointError(f"{path}: {name} must hold finite numbers")
    return kept


def digest(weights: Mapping[str, Array]) -> str:
    """What tells a model from another one."""
    return checkpoint.checksum(weights, {})
