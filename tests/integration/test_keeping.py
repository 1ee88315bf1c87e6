"""What is done with a study after its sweep: reproduce, sync, delete."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweep.recording.outbox import Outbox
from sweep.search.storage import Storage
from sweep.workspace import Workspace
from tests.integration.conftest import SMOKE, Sweep


@pytest.fixture
def copied(finished: Sweep, tmp_path: Path) -> Sweep:
    """A copy of the finished workspace, with its store."""
    shutil.copytree(finished.workspace, tmp_path / "results")
    made = Workspace(tmp_path / "results")
    with closing(Outbox(made.study("smoke").outbox)) as outbox:
        outbox.note("tracking_uri", made.tracking_uri)
    return Sweep(tmp_path / "results", None)


def test_a_trial_is_reproduced_to_the_bit(copied: Sweep) -> None:
    assert copied("reproduce", "smoke", 2) == "trial 2 is bit-identical\n"
    found = json.loads(copied("reproduce", "smoke", 0, "--json"))
    assert (found["identical"], found["comparable"], found["difference"]) == (True, True, 0.0)
    assert found["recorded"]["threads"] == 1
    assert "no trial 9" in copied("reproduce", "smoke", 9, code=2)


def test_a_trial_is_asked_for_its_sensitivity(copied: Sweep) -> None:
    told = copied("reproduce", "smoke", 1, "--sensitivity").splitlines()
    assert [line.partition(":")[0] for line in told[1:]] == ["layer 1", "layer 2"]
    found = json.loads(copied("reproduce", "smoke", 1, "--sensitivity", "--json"))
    first, top = found["sensitivity"]
    assert (first["weights"], top["weights"]) == (64 * 32, 32 * 10)
    for layer in (first, top):
        assert 0 < layer["change"] < layer["nudge"] < layer["slope"]
    assert f"changes the loss by {first['change']:.2g}" in told[1]
    assert json.loads(copied("reproduce", "smoke", 1, "--json"))["sensitivity"] == []


def test_a_trial_that_differs_is_said_to_differ(copied: Sweep) -> None:
    log = Workspace(copied.workspace).study("smoke").trials
    recorded = Storage(log, "smoke").trials()[2].user_attrs["sweep"]["metrics"]["val_loss"]
    written = log.read_text()
    assert written.count(str(recorded[0])) == 1
    log.write_text(written.replace(str(recorded[0]), str(recorded[0] + 0.25)))
    told = copied("reproduce", "smoke", 2, code=1)
    assert "trial 2 differs: largest difference 0.25" in told

    written = log.read_text()
    log.write_text(written.replace('"threads":1', '"threads":64'))
    told = copied("reproduce", "smoke", 2)
    assert "trial 2 is not comparable (threads changed)" in told


def test_a_deleted_study_is_gone_and_its_name_is_free(copied: Sweep) -> None:
    assert "sent" not in copied("sync")
    copied("delete", "smoke", "--yes")
    assert json.loads(copied("list", "--json")) == []
    assert not (copied.workspace / "smoke").exists()
    client = MlflowClient(f"sqlite:///{copied.workspace / 'mlflow.db'}")
    assert client.get_experiment_by_name("smoke") is None
    copied("delete", "smoke", "--yes", code=2)
    assert SMOKE.exists()


def test_a_study_whose_file_is_no_longer_right_can_be_deleted(copied: Sweep) -> None:
    file = Workspace(copied.workspace).study("smoke").file
    file.write_text(file.read_text() + "  no: [yaml")
    assert "is not valid YAML" in copied("delete", "smoke", "--yes", code=2)
    client = MlflowClient(f"sqlite:///{copied.workspace / 'mlflow.db'}")
    assert client.get_experiment_by_name("smoke") is not None  # where its states are is not known
    file.write_text("model: {start_from: {source: gone.npz}}")
    copied("delete", "smoke", "--yes")
    assert not file.exists()
    assert client.get_experiment_by_name("smoke") is None


def test_runs_of_others_are_not_deleted(copied: Sweep) -> None:
    """Two workspaces with a study of one name may record in one store."""
    client = MlflowClient(f"sqlite:///{copied.workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("smoke")
    other = client.create_run(experiment.experiment_id)
    copied("delete", "smoke", "--yes")
    assert client.get_run(other.info.run_id).info.lifecycle_stage == "active"
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.run_id for run in runs] == [other.info.run_id]


def test_a_study_that_was_recorded_elsewhere_is_not_deleted(copied: Sweep) -> None:
    with closing(Outbox(Workspace(copied.workspace).study("smoke").outbox)) as outbox:
        outbox.note("tracking_uri", "http://elsewhere")
    told = copied("delete", "smoke", "--yes", code=2)
    assert "set MLFLOW_TRACKING_URI to http://elsewhere" in told
    assert len(json.loads(copied("list", "--json"))) == 1
