"""The studies in the box, whole, on this machine's own Ray: slow."""

import os
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.integration.conftest import ROOT, Sweep

DATA = Path(os.environ.get("SWEEP_TEST_DATA", ROOT.parent / "shared" / "data"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_default_study(offline: Sweep) -> None:
    offline("run")
    shown = offline.show("digits")
    trials = shown["trials"]
    assert [trial["number"] for trial in trials] == list(range(60))
    assert {trial["state"] for trial in trials} <= {"complete", "pruned", "failed"}
    assert trials[shown["best"]]["value"] > 0.96
    assert shown["test"]["mean"] >= 0.96
    client = MlflowClient(f"sqlite:///{offline.workspace / 'mlflow.db'}")
    parent, *children = offline.runs("digits")
    assert parent.info.status == "FINISHED"
    assert len(children) == 60
    for child, trial in zip(children, trials, strict=True):
        assert child.info.status in ("FINISHED", "FAILED")
        assert child.data.tags["sweep.state"] == trial["state"]
        history = client.get_metric_history(child.info.run_id, "val_accuracy")
        assert len(history) == trial["epoch"]
        artifacts = {each.path for each in client.list_artifacts(child.info.run_id)}
        if trial["state"] == "failed":
            assert artifacts == {"config.yaml", "error.txt"}
        else:
            assert {"config.yaml", "learning_curve.png", "weights.npz"} <= artifacts
    started = time.monotonic()
    offline("run")
    assert time.monotonic() - started < 30, "a finished study is trained again"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fashion_mnist(offline: Sweep) -> None:
    source = DATA / "fashion-mnist"
    if not source.is_dir():
        pytest.skip(f"no Fashion-MNIST in {source}")
    offline(
        "run",
        ROOT / "studies" / "fashion_mnist.yaml",
        "--trials=4",
        f"--set=data.source=idx:{source}",
        "--set=training.epochs=5",
    )
    shown = offline.show("fashion_mnist")
    assert shown["trials"][shown["best"]]["value"] >= 0.86
