"""A study of scikit-learn models: the example, on Ray workers that have not got its code."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from sweep.datasets import Datasets
from sweep.scheduling.ray_runner import RayRunner
from sweep.scheduling.runner import Advanced, Link, LocalRunner
from sweep.spec.study import check
from sweep.spec.study_file import load
from tests.integration.conftest import ROOT, Sweep

EXAMPLE = ROOT / "examples" / "scikit_learn.yaml"


def test_it_is_swept_recorded_tested_and_reproduced(sweep: Sweep) -> None:
    code = (ROOT / "examples" / "scikit_learn.py").read_text()
    (sweep.workspace.parent / "mushrooms.py").write_text(code)
    own = "--set=trainer=mushrooms:Linear", "--allow-code=mushrooms"
    sweep("run", EXAMPLE, "--trials=4", "--set=search.sampler=random", *own)
    shown = sweep.show("scikit_learn")
    assert shown["state"] == "finished"
    assert {each["state"] for each in shown["trials"]} <= {"complete", "pruned"}
    assert shown["test"]["mean"] > 0.9
    best = shown["trials"][shown["best"]]
    assert best["epoch"] == 9
    assert best["environment"]["trainer"]
    assert shown["looks_at_test"][0]["trial"] == shown["best"]

    parent, *children = sweep.runs("scikit_learn")
    assert len(children) == 4
    params = children[shown["best"]].data.params
    assert params["model.alpha"] == str(best["params"]["model.alpha"])
    assert (params["training.epochs"], params["data.preprocess"]) == ("9", "standardize")
    client = MlflowClient(f"sqlite:///{sweep.workspace / 'mlflow.db'}")
    run = children[shown["best"]].info.run_id
    steps = [each.step for each in client.get_metric_history(run, "val_loss")]
    assert steps == list(range(1, 10))
    artifacts = {each.path for each in client.list_artifacts(run)}
    assert {"config.yaml", "learning_curve.png", "weights.npz", "confusion_matrix.png"} <= artifacts
    assert "model" not in artifacts
    assert "report.html" in {each.path for each in client.list_artifacts(parent.info.run_id)}
    assert not client.search_registered_models()

    again = sweep("reproduce", "scikit_learn", shown["best"], "--allow-code=mushrooms", "--json")
    assert json.loads(again)["identical"]

    (sweep.workspace.parent / "mushrooms.py").write_text(f"{code}\n# of another kind\n")
    resume = sweep.start("resume", "scikit_learn", "--trials=5", "--allow-code=mushrooms")
    _, told = resume.communicate(timeout=100)
    assert resume.returncode == 0, told
    assert "warning: mushrooms:Linear has changed since the study began" in told
    first, *others = (
        each["environment"]["trainer"] for each in sweep.show("scikit_learn")["trials"]
    )
    assert [each == first for each in others] == [True] * 3 + [False]


def test_its_code_travels_to_workers(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "toadstools.py"
    file.write_text((ROOT / "examples" / "scikit_learn.py").read_text())
    monkeypatch.syspath_prepend(tmp_path)
    study = check(load(EXAMPLE) | {"trainer": "toadstools:Linear"})
    datasets = Datasets(study, allow_code=["toadstools"])
    here, there = LocalRunner(datasets), RayRunner(datasets, study.resources, ray_address)
    file.unlink()
    with closing(there):
        for until in (1, 3):
            link = Link(0, study.first_config(), until, 0, 2)
            here.submit(link)
            there.submit(link)
            (expected,) = here.wait(0)
            (outcome,) = there.wait(60)
            assert isinstance(expected, Advanced)
            assert isinstance(outcome, Advanced), outcome.error
            np.testing.assert_array_equal(outcome.metrics["val_loss"], expected.metrics["val_loss"])


@pytest.mark.parametrize("name", ["scikit_learn", "pytorch"])
def test_links_give_the_bits_of_one_and_of_each_replicate_alone(name: str) -> None:
    if name == "pytorch":
        pytest.importorskip("torch", reason="PyTorch is no dependency")
    study = check(load(ROOT / "examples" / f"{name}.yaml"))
    datasets = Datasets(study, allow_code=[f"examples.{name}"])
    config = study.first_config()
    runner = LocalRunner(datasets)
    links = [Link(0, config, until, 0, 2) for until in (1, 4)]
    links += [Link(1, config, 4, 0, 2), Link(2, config, 4, 0, 1, first=1)]
    outcomes = []
    for link in links:
        runner.submit(link)
        (outcome,) = runner.wait(0)
        assert isinstance(outcome, Advanced)
        outcomes.append(outcome)
    _, chained, whole, second = outcomes
    for metric in ("val_loss", "val_accuracy"):
        np.testing.assert_array_equal(chained.metrics[metric], whole.metrics[metric])
        np.testing.assert_array_equal(whole.metrics[metric][1:], second.metrics[metric])
    assert whole.metrics["val_loss"][0] != whole.metrics["val_loss"][1]
    x = datasets.data(config).folds[0].x_val
    odds = datasets.trainers.predict(config, runner.state(1), [x])
    accuracy = [
        np.mean(each.argmax(axis=1) == datasets.data(config).folds[0].y_val) for each in odds
    ]
    np.testing.assert_allclose(accuracy, whole.metrics["val_accuracy"], rtol=1e-6)


@pytest.mark.parametrize("fold", [0, 2])
def test_each_fold_is_predicted_by_its_own_replicate(fold: int) -> None:
    study = check(load(EXAMPLE) | {"data": {"folds": 3}})
    datasets = Datasets(study, allow_code=["examples.scikit_learn"])
    config = study.first_config()
    runner = LocalRunner(datasets)
    runner.submit(Link(0, config, 3, 0, 3))
    (outcome,) = runner.wait(0)
    assert isinstance(outcome, Advanced)
    folds = datasets.data(config).folds
    odds = datasets.trainers.predict(config, runner.state(0), [each.x_val for each in folds])
    accuracy = np.mean(odds[fold].argmax(axis=1) == folds[fold].y_val)
    assert accuracy == outcome.metrics["val_accuracy"][fold]
