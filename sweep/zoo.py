"""Models that nets start from: files, or models and runs in MLflow, by name."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sweep import model
from sweep.spec.places import IN_MLFLOW, Elsewhere
from trainer import checkpoint
from trainer.arrays import Array
from trainer.rules import ConfigError, Problem

MODEL = Path("artifacts", "model.npz")
"""Where a model that this program has logged holds its arrays."""

_NAME = re.compile(r"\d+\.\w+|image")


class Stored(NamedTuple):
    """A model as it was stored.

    Attributes:
        weights: its arrays (R, …) by name.
        preprocess: `data.preprocess` of its configuration; None if that is not known.
    """

    weights: dict[str, Array]
    preprocess: Any


def load(source: str, tracking_uri: str) -> Stored:
    """The model of that name.

    Args:
        source: the path of a checkpoint (`best --export` and the artifact `weights.npz` are such),
            `models:/NAME@ALIAS` or `models:/NAME/VERSION`, or `runs:/RUN_ID/weights.npz`.
        tracking_uri: the MLflow store in which names are looked up.

    Raises:
        Elsewhere: there is none of that name.
        ConfigError: it is of no use.
    """
    try:
        if source.startswith(IN_MLFLOW):
            return _downloaded(source, tracking_uri)
        return _stored(Path(source).expanduser())
    except _Absent as error:
        raise Elsewhere([Problem("model.start_from.source", str(error))]) from None
    except checkpoint.CheckpointError as error:
        raise ConfigError([Problem("model.start_from.source", str(error))]) from None


class _Absent(Exception):
    """There is no such file, or MLflow has no such model."""


def _downloaded(source: str, tracking_uri: str) -> Stored:
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
        return _stored(found / MODEL if found.is_dir() else found)


def _version(client: Any, name: str) -> Any:
    model, at, alias = name.partition("@")
    if at:
        return client.get_model_version_by_alias(model, alias)
    model, slash, version = name.partition("/")
    if not slash:
        raise ValueError("must be models:/NAME@ALIAS or models:/NAME/VERSION")
    return client.get_model_version(model, version)


def _stored(path: Path) -> Stored:
    if not path.exists():
        raise _Absent(f"{path}: must be a file that exists")
    arrays, config = checkpoint.load(path)
    kept = model.weights_of(arrays)
    for name, array in kept.items():
        if not _NAME.fullmatch(name):
            rule = f"must hold the weights of a model (0.weight, …) alone, not {name!r}"
            raise checkpoint.CheckpointError(f"{path}: {rule}")
        if array.dtype.kind not in "fi" or not np.isfinite(array).all():
            raise checkpoint.CheckpointError(f"{path}: {name} must hold finite numbers")
        if not array.ndim or not len(array):
            rule = f"{name} must have at least one replicate, has shape {array.shape}"
            raise checkpoint.CheckpointError(f"{path}: {rule}")
    if "0.weight" not in kept:
        rule = "must hold the weights of a model (0.weight, …)"
        raise checkpoint.CheckpointError(f"{path}: {rule}, but has no 0.weight")
    try:
        preprocess = config["config"]["data"]["preprocess"]
    except (KeyError, TypeError):
        preprocess = None
    return Stored(kept, preprocess)


def digest(weights: Mapping[str, Array]) -> str:
    """What tells a model from another one."""
    return checkpoint.checksum(weights, {})
