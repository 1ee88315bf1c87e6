"""Data by configuration: a searched preprocessing is part of every trial."""

import numpy as np
from mlflow import MlflowClient

from sweep.datasets import Datasets
from sweep.spec.study import check
from tests.integration.conftest import SMOKE, Sweep
from trainer import checkpoint


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
