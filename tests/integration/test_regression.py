"""A sweep of numbers to predict, from the study file to the model that MLflow serves."""

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score

from sweep.datasets import Datasets
from sweep.spec.study import check
from sweep.spec.study_file import load, override
from tests.integration.conftest import ROOT, Sweep

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning",
    "ignore:.*Add type hints to the `predict` method:UserWarning",
)
STUDY = ROOT / "studies" / "diabetes.yaml"
FEWER = ["search.trials=4", "search.pruner=none", "replicates=3", "training.epochs=20"]


def test_diabetes(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    told = sweep("run", STUDY, *(f"--set={each}" for each in FEWER))
    assert "best trials by val_r2" in told
    assert "test R² of the winner" in told
    assert "accuracy" not in told
    shown = sweep.show("diabetes")
    best = shown["trials"][shown["best"]]
    assert (shown["metric"], shown["direction"]) == ("val_r2", "maximize")
    assert best["value"] == pytest.approx(np.mean(best["metrics"]["val_r2"]))
    assert best["value"] > 0.3

    parent, *children = sweep.runs("diabetes")
    assert parent.data.metrics["test_r2"] == pytest.approx(shown["test"]["mean"])
    assert len(children) == 4
    uri = f"sqlite:///{sweep.workspace / 'mlflow.db'}"
    client = MlflowClient(uri)
    for child in children:
        assert len(client.get_metric_history(child.info.run_id, "val_r2")) == 20
        assert not any("accuracy" in name for name in child.data.metrics)
        artifacts = {each.path for each in client.list_artifacts(child.info.run_id)}
        assert "learning_curve.png" in artifacts
        assert "confusion_matrix.png" not in artifacts
        assert "predicted_vs_observed.png" in artifacts  # of the five best: there are four

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    _the_champion_predicts(shown["test"]["values"])
    assert "bit-identical" in sweep("reproduce", "diabetes", shown["best"], "--sensitivity")
    report = (sweep.workspace / "diabetes" / "report" / "report.md").read_text()
    assert "R² on the test split" in report
    assert "accuracy" not in report
    assert "![predicted vs observed](pictures/predicted_vs_observed.png)" in report


def _the_champion_predicts(scores: list[float]) -> None:
    """From raw features, in the unit of the targets, as the winner did on the test rows."""
    served = mlflow.pyfunc.load_model("models:/diabetes@champion")
    assert str(served.metadata.get_output_schema()) == "[Tensor('float64', (-1, 1))]"
    assert served.metadata.metadata["targets"] == ["progression"]
    x, y = (
        Datasets(check(override(load(STUDY), FEWER)))
        .splits({"data": {"preprocess": "none"}})
        .raw_test
    )
    answers = served.predict(x)
    assert answers.dtype == np.float64
    replicate = served.metadata.metadata["replicate"]
    assert r2_score(y, answers) == pytest.approx(scores[replicate], abs=1e-4)
    everyone = load_diabetes(scaled=False).target
    assert abs(answers.mean() - everyone.mean()) < 30
