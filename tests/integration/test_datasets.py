"""Data by configuration: a searched preprocessing is part of every trial."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from sweep.datasets import Datasets
from sweep.spec.study import check
from tests.integration.conftest import SMOKE, Sweep
from trainer import checkpoint
from trainer.rules import ConfigError


def test_each_way_of_preprocessing_is_done_once() -> None:
    study = check({"name": "a", "data": {"preprocess": {"choose": ["none", "minmax"]}}})
    datasets = Datasets(study)
    plain, scaled = (study.config({"data.preprocess": each}) for each in ("none", "minmax"))
    assert datasets.key(plain) != datasets.key(scaled)
    assert datasets.data(plain) is datasets.data(plain)
    rows, between = (datasets.data(each).folds[0] for each in (plain, scaled))
    assert rows.x_train.max() == 16
    assert between.x_train.max() == 1
    np.testing.assert_array_equal(rows.y_train, between.y_train)


@pytest.mark.parametrize(
    ("preprocess", "fields", "complaint"),
    [
        ("standardize", {}, None),
        ({"choose": ["none", "pca"]}, {}, "model.architecture: must be mlp: the features are no"),
        ("none", {"pool_size": 3}, "model.architecture.cnn: leaves nothing of an image of 8 × 8"),
    ],
)
def test_what_does_not_go_with_the_data_is_refused_at_once(
    preprocess: Any, fields: dict[str, Any], complaint: str | None
) -> None:
    architecture = {"choose": ["mlp", {"cnn": {"channels": [4, 4]} | fields}]}
    values = {"name": "a", "data": {"preprocess": preprocess}}
    study = check(values | {"model": {"architecture": architecture}})
    with pytest.raises(ConfigError, match=complaint) if complaint else nullcontext():
        Datasets(study)


def test_some_classes_of_the_data() -> None:
    study = check({"name": "a", "data": {"classes": [8, 1, "3"]}})
    datasets = Datasets(study)
    assert datasets.classes == ("8", "1", "3")
    data = datasets.data(study.first_config())
    assert np.bincount(data.folds[0].y_train).min() > 90
    assert data.classes == 3
    assert datasets.digest != Datasets(check({"name": "a"})).digest


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"data": {"classes": [1, 10]}}, "data.classes: must be among the classes of the data, 0,"),
        ({"data": {"classes": [1, 1]}}, "data.classes: must be two or more different classes"),
        (
            {"training": {"per_class": {"choose": [5, 1000]}}},
            r"training.per_class: must be at most the \d+ training rows of the rarest class, got",
        ),
    ],
)
def test_rows_that_are_not_there(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Datasets(check({"name": "a"} | fields))


def test_two_classes_for_one_sigmoid() -> None:
    loss = {"choose": ["cross_entropy", "binary_cross_entropy"]}
    with pytest.raises(ConfigError, match=r"loss: must be cross_entropy with 10 classes"):
        Datasets(check({"name": "a", "training": {"loss": loss}}))


def test_a_sweep_over_architectures(sweep: Sweep) -> None:
    convolutions = "{cnn: {channels: [4], kernel: {choose: [3, 5]}}}"
    sweep(
        "run",
        SMOKE,
        "--set=search.sampler=grid",
        f"--set=model.architecture={{choose: [mlp, {convolutions}]}}",
        "--set=model.activation=relu",
        "--set=model.dropout={rate: 0.1, kind: spatial}",
        "--set=training.learning_rate=0.01",
        "--trials=9",
    )
    shown = sweep.show("smoke")
    assert [each["params"]["model.architecture"] for each in shown["trials"]] == [
        "mlp",
        *["cnn"] * 2,
    ]
    assert [each["state"] for each in shown["trials"]].count("complete") >= 1
    assert shown["test"]["mean"] > 0.8
    sweep("reproduce", "smoke", "2")
    client = MlflowClient(f"sqlite:///{sweep.workspace / 'mlflow.db'}")
    found = client.get_model_version_by_alias("smoke", "champion")
    assert found.tags["sweep.trial"] == str(shown["best"])


def test_a_sweep_over_preprocessings(sweep: Sweep) -> None:
    sweep(
        "run",
        SMOKE,
        "--set=search.sampler=grid",
        "--set=data.preprocess={choose: [none, minmax]}",
        "--set=model.activation=relu",
        "--set=model.dropout=0",
        "--set=training.learning_rate=0.01",
    )
    shown = sweep.show("smoke")
    assert [each["params"]["data.preprocess"] for each in shown["trials"]] == ["none", "minmax"]
    assert shown["trials"][0]["values"] != shown["trials"][1]["values"]
    assert shown["test"]["mean"] > 0.8
    client = MlflowClient(f"sqlite:///{sweep.workspace / 'mlflow.db'}")
    for run, name in zip(sweep.runs("smoke")[1:], ("none", "minmax"), strict=True):
        assert run.data.params["data.preprocess"] == name
        kept = checkpoint.load(client.download_artifacts(run.info.run_id, "weights.npz"))
        fitted = {each for each in kept.arrays if each.startswith("preprocessing.")}
        assert bool(fitted) == (name == "minmax")
