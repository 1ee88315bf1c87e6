"""Sweeps whose nets start from a model that another sweep has trained."""

from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from sweep import zoo
from sweep.datasets import Datasets
from sweep.spec.study import check
from tests.integration.conftest import SMOKE, Sweep
from trainer import checkpoint, pytorch, reading
from trainer.config import Config
from trainer.rules import ConfigError

FIXED = (
    "--set=model.activation=relu",
    "--set=model.dropout=0",
    "--set=training.learning_rate=0.003",
    "--set=search.sampler=grid",
)


def test_from_a_file_and_from_the_registry(sweep: Sweep, tmp_path: Path) -> None:
    sweep("run", SMOKE, *FIXED)
    sweep("best", "smoke", "--export", tmp_path / "zoo")
    file, model = tmp_path / "zoo" / "model.npz", "models:/smoke@champion"
    start = f"{{source: {{choose: ['{file}', '{model}']}}, freeze: {{choose: [0, 1]}}}}"
    again = (*FIXED, "--name=again", f"--set=model.start_from={start}", "--trials=4")
    sweep("run", SMOKE, *again)
    shown = sweep.show("again")
    assert [each["state"] for each in shown["trials"]] == ["complete"] * 4
    given = checkpoint.load(file).arrays
    client = MlflowClient(f"sqlite:///{sweep.workspace / 'mlflow.db'}")
    for run in sweep.runs("again")[1:]:
        found = checkpoint.load(client.download_artifacts(run.info.run_id, "weights.npz")).arrays
        from_file = run.data.params["model.start_from.source"] == str(file)
        if run.data.params["model.start_from.freeze"] == "1":
            same = (found["0.weight"] == given["0.weight"][:1]).all()
            assert same or not from_file  # the registered replicate is the best one
            assert (found["0.weight"][0] == found["0.weight"][1]).all()
        else:
            assert (found["0.weight"][0] != found["0.weight"][1]).any()
    sweep("reproduce", "again", "1")

    kept = checkpoint.load(file)
    changed = {
        name: array + 1 if name == "0.bias" else array for name, array in kept.arrays.items()
    }
    checkpoint.save(file, changed, kept.config)
    told = sweep("resume", "again", code=2)
    assert "has changed since the study began" in told


def test_what_is_of_no_use(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.start_from.source: .*none.npz"):
        zoo.load(str(tmp_path / "none.npz"), "")
    np.savez(tmp_path / "foreign.npz", x=np.zeros(3))
    with pytest.raises(ConfigError, match="is no checkpoint of this program"):
        zoo.load(str(tmp_path / "foreign.npz"), "")
    checkpoint.save(tmp_path / "nan.npz", {"0.weight": np.full((1, 2, 2), np.nan)}, {})
    with pytest.raises(ConfigError, match=r"0.weight must hold finite numbers"):
        zoo.load(str(tmp_path / "nan.npz"), "")


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({}, "but has no 0.weight"),
        ({"1.weight": np.ones((1, 2, 2))}, "but has no 0.weight"),
        ({"epoch": np.zeros(()), "parameters": np.zeros((2, 9))}, "alone, not 'epoch'"),
        ({"0.weight": np.zeros(())}, r"0.weight must have at least one replicate, has shape \(\)"),
        ({"0.weight": np.ones((1, 2, 2), bool)}, "0.weight must hold finite numbers"),
    ],
    ids=["empty", "upper", "state", "flat", "bool"],
)
def test_checkpoints_that_hold_no_model(
    tmp_path: Path, arrays: dict[str, np.ndarray], complaint: str
) -> None:
    checkpoint.save(tmp_path / "a.npz", arrays, {})
    with pytest.raises(ConfigError, match=rf"model.start_from.source: .*a.npz: .*{complaint}"):
        zoo.load(str(tmp_path / "a.npz"), "")


@pytest.mark.parametrize("freeze", [0, 1])
def test_frozen_layers_see_features_as_they_learnt_them(tmp_path: Path, freeze: int) -> None:
    file = tmp_path / "a.npz"
    arrays = {"0.weight": np.ones((1, 64, 5)), "0.bias": np.ones((1, 5))}
    arrays |= {"1.weight": np.ones((1, 5, 10)), "1.bias": np.ones((1, 10))}
    checkpoint.save(file, arrays, {"config": {"data": {"preprocess": "minmax"}}})

    def datasets(preprocess: str) -> Datasets:
        model = {"hidden": [5], "start_from": {"source": str(file), "freeze": freeze}}
        data = {"source": "digits", "preprocess": preprocess}
        return Datasets(check({"name": "a", "question": "b?", "data": data, "model": model}))

    datasets("minmax")
    if not freeze:
        datasets("standardize")
        return
    rule = r"data.preprocess: must be .*minmax.* as for .*a.npz, whose layers are frozen"
    with pytest.raises(ConfigError, match=rf"{rule}, got 'standardize'"):
        datasets("standardize")


def test_images_are_resized_to_those_of_the_source(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    arrays = {"0.weight": np.ones((1, 120, 5)), "0.bias": np.ones((1, 5))}
    checkpoint.save(file, arrays | {"1.weight": np.ones((1, 5, 10))}, {})

    def datasets(resize: dict[str, int] | None) -> Datasets:
        model = {"hidden": [5], "start_from": {"source": str(file), "freeze": 1}}
        data = {"source": "digits", "resize": resize}
        return Datasets(check({"name": "a", "question": "b?", "data": data, "model": model}))

    found = datasets({"height": 10, "width": 12})
    assert found.data({"data": {"preprocess": "minmax"}}).folds[0].x_train.shape[1] == 120
    with pytest.raises(ConfigError, match=r"must have 0.weight of shape \(64, 5\)"):
        datasets(None)


def test_weights_from_pytorch_can_be_a_source(tmp_path: Path) -> None:
    config = reading.check(Config, {"model": {"hidden": [3]}})
    given = np.random.default_rng(0).standard_normal((3, 4))
    arrays = {"fc1.weight": given, "fc1.bias": np.ones(3), "fc2.weight": np.ones((2, 3))}
    np.savez(tmp_path / "net.npz", allow_pickle=False, **arrays)
    checkpoint.save(tmp_path / "source.npz", pytorch.load(tmp_path / "net.npz", config), {})
    found = zoo.load(str(tmp_path / "source.npz"), "").weights
    np.testing.assert_array_equal(found["0.weight"][0], given.T.astype(np.float32))
