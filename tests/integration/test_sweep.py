"""A whole sweep on real parts: Ray, Optuna, MLflow, and the data that ship with scikit-learn."""

import hashlib
import json
import platform
import signal
import time
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import optuna
import psutil
import pytest
from mlflow import MlflowClient

from sweep.datasets import Datasets
from sweep.search.storage import Storage
from sweep.spec.study import check
from sweep.spec.study_file import load, override
from sweep.workspace import Workspace
from tests.integration.conftest import ROOT, SMOKE, Sweep, eventually
from trainer import checkpoint

METRICS = {"train_loss", "train_accuracy", "val_loss", "val_accuracy"}
TIMINGS = ("training", "validation", "handover", "waiting")


def test_show_has_every_trial_and_the_winner(finished: Sweep) -> None:
    shown = finished.show("smoke")
    assert [trial["number"] for trial in shown["trials"]] == [0, 1, 2, 3]
    assert {trial["state"] for trial in shown["trials"]} == {"complete"}
    assert shown["state"] == "finished"
    values = [trial["value"] for trial in shown["trials"]]
    assert shown["best"] == int(np.argmax(values))
    for trial in shown["trials"]:
        assert len(trial["values"]) == 2
        assert trial["value"] == pytest.approx(np.mean(trial["values"]))
        assert set(trial["params"]) == {
            "model.activation",
            "model.dropout",
            "training.learning_rate",
        }
    assert shown["test"]["mean"] == pytest.approx(np.mean(shown["test"]["values"]))
    assert shown["test"]["mean"] > 0.8


def test_the_test_split_is_looked_at_once_for_the_winner(finished: Sweep) -> None:
    before = finished.show("smoke")["looks_at_test"]
    assert [look["trial"] for look in before] == [finished.show("smoke")["best"]]
    finished("run", SMOKE)
    assert finished.show("smoke")["looks_at_test"] == before


def test_mlflow_has_every_trial(finished: Sweep) -> None:
    parent, *children = finished.runs("smoke")
    shown = finished.show("smoke")
    assert len(children) == 4
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["test_accuracy"] == pytest.approx(shown["test"]["mean"])
    client = MlflowClient(f"sqlite:///{finished.workspace / 'mlflow.db'}")
    for child, trial in zip(children, shown["trials"], strict=True):
        tags = child.data.tags
        assert child.info.run_id == trial["mlflow_run_id"]
        assert child.info.experiment_id == shown["mlflow_experiment_id"]
        assert child.info.status == "FINISHED"
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert (tags["sweep.study"], tags["sweep.state"]) == ("smoke", "complete")
        assert child.data.params["model.activation"] == trial["params"]["model.activation"]
        assert child.data.params["training.epochs"] == "3"
        assert tags["sweep.diagnosis"]
        assert tags["mlflow.note.content"].endswith(f"Diagnosis: {tags['sweep.diagnosis']}")
        more = {"val_accuracy_sd", "learning_rate", "epoch_seconds", "health/gradient_norm_1"}
        for metric in METRICS | more | {"validation_seconds"}:
            steps = [each.step for each in client.get_metric_history(child.info.run_id, metric)]
            assert steps == [1, 2, 3], metric
        last = client.get_metric_history(child.info.run_id, "val_accuracy")[-1]
        assert last.value == pytest.approx(trial["value"])
        artifacts = {each.path for each in client.list_artifacts(child.info.run_id)}
        assert {"config.yaml", "learning_curve.png", "weights.npz"} <= artifacts


def test_mlflow_says_where_the_time_went(finished: Sweep) -> None:
    """And where the trial ran. Waiting is the longest by far for some of so short trials."""
    client = MlflowClient(f"sqlite:///{finished.workspace / 'mlflow.db'}")
    for run in finished.runs("smoke")[1:]:
        spent = {name: run.data.metrics[f"seconds_{name}"] for name in TIMINGS}
        assert min(spent.values()) > 0
        epochs, validation = (
            2 * sum(each.value for each in client.get_metric_history(run.info.run_id, name))
            for name in ("epoch_seconds", "validation_seconds")
        )
        assert spent["validation"] == pytest.approx(validation)
        assert spent["training"] == pytest.approx(epochs - validation)
        assert sum(spent.values()) < (run.info.end_time - run.info.start_time) / 1000 + 0.1
        assert run.data.tags["sweep.worker"] == platform.node()
        assert run.data.tags["sweep.device"].startswith("cpu (")


def test_mlflow_says_what_a_sweep_was_made_of(finished: Sweep) -> None:
    """Of its parent run: the machine, the versions, the commit, checksums of study and data."""
    parent = finished.runs("smoke")[0]
    tags = parent.data.tags
    assert tags["sweep.host"] == platform.node()
    assert tags["sweep.version.ray"] == version("ray")
    if (ROOT / ".git").exists():
        assert len(tags["mlflow.source.git.commit"]) == 40
    text = (finished.workspace / "smoke" / "study.yaml").read_bytes()
    assert tags["sweep.checksum.study"] == hashlib.sha256(text).hexdigest()
    (data,) = parent.inputs.dataset_inputs
    assert data.dataset.name == "digits"
    assert tags["sweep.checksum.data"] == data.dataset.digest == Datasets(check(load(SMOKE))).digest


def test_weights_in_mlflow_are_the_model(finished: Sweep) -> None:
    run = finished.runs("smoke")[1]
    client = MlflowClient(f"sqlite:///{finished.workspace / 'mlflow.db'}")
    kept = checkpoint.load(client.download_artifacts(run.info.run_id, "weights.npz"))
    assert kept.arrays["0.weight"].shape == (2, 64, 32)
    assert kept.arrays["preprocessing.0.shift"].shape == (64,)


def test_another_tool_reads_the_study_storage(finished: Sweep) -> None:
    backend = optuna.storages.journal.JournalFileBackend(
        str(finished.workspace / "smoke" / "trials.log")
    )
    study = optuna.load_study(study_name="smoke", storage=optuna.storages.JournalStorage(backend))
    assert len(study.get_trials()) == 4
    assert study.best_trial.number == finished.show("smoke")["best"]


CHOICES = {
    "a": ("record.weights=none", "record.models=none"),
    "b": ("record.weights={best-k: {k: 2}}", "record.models={best-k: {k: 3}}"),
    "c": ("record.weights=none", "record.models=all", "search.seed=1"),
}


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> Sweep:
    """The smoke study thrice, each time with other choices of what is recorded."""
    made = Sweep(tmp_path_factory.mktemp("chosen") / "results", ray_address)
    for name, choices in CHOICES.items():
        made("run", SMOKE, "--name", name, *(f"--set={each}" for each in choices))
    return made


def test_the_same_seed_gives_the_same_trials_to_the_bit(chosen: Sweep) -> None:
    a, b, c = (chosen.show(name)["trials"] for name in CHOICES)
    assert [(each["params"], each["values"]) for each in a] == [
        (each["params"], each["values"]) for each in b
    ]
    assert c[0]["params"] != a[0]["params"]


@pytest.mark.parametrize(
    ("name", "weights", "models", "confused"), [("a", 0, 0, 1), ("b", 2, 3, 3), ("c", 0, 4, 4)]
)
def test_the_best_trials_have_what_was_asked_for(
    chosen: Sweep, name: str, weights: int, models: int, confused: int
) -> None:
    """Their weights, their models, and pictures of what they confuse."""
    client = MlflowClient(f"sqlite:///{chosen.workspace / 'mlflow.db'}")
    ranked = sorted(chosen.show(name)["trials"], key=lambda each: (-each["value"], each["number"]))
    for rank, trial in enumerate(ranked):
        run = trial["mlflow_run_id"]
        there = {each.path for each in client.list_artifacts(run)}
        assert ("weights.npz" in there) == (rank < weights), rank
        assert ("confusion_matrix.png" in there) == (rank < confused), rank
        assert ("model" in there) == (rank < models), rank
    folder = chosen.workspace / name
    assert not [*folder.glob("weights/*"), *folder.glob("models/*")]
    crowned = {each.name for each in client.search_registered_models()}
    assert (name in crowned) == (models > 0)


def test_a_model_predicts_what_its_trial_did(chosen: Sweep) -> None:
    """Raw rows in: the accuracy is that of the trial's best replicate."""
    client = MlflowClient(f"sqlite:///{chosen.workspace / 'mlflow.db'}")
    study = check(override(load(SMOKE), ["data.preprocess=none", "search.seed=1"]))
    raw = Datasets(study).data(study.first_config()).folds[0]
    for trial in chosen.show("c")["trials"]:
        folder = client.download_artifacts(trial["mlflow_run_id"], "model")
        predicted = mlflow.pyfunc.load_model(folder).predict(raw.x_val).argmax(axis=1)
        assert (predicted == raw.y_val).mean() == pytest.approx(max(trial["values"]))


def test_failed_and_diverged_trials_do_not_end_a_sweep(sweep: Sweep) -> None:
    sweep(
        "run",
        SMOKE,
        "--set=search.sampler=grid",
        "--set=model.activation=relu",
        "--set=model.dropout=0",
        "--set=model.hidden={choose: [[8], [1000000, 1000000]]}",
        "--set=training.optimizer=sgd",
        "--set=training.learning_rate={choose: [0.1, 1e30]}",
    )
    shown = sweep.show("smoke")
    states, reasons = zip(
        *((each["state"], each["reason"]) for each in shown["trials"]), strict=True
    )
    assert states == ("complete", "pruned", "failed", "failed")
    assert reasons[:2] == (None, "diverged at epoch 1")
    assert all("MemoryError" in each for each in reasons[2:])
    assert shown["state"] == "finished"
    parent, *children = sweep.runs("smoke")
    assert parent.info.status == "FINISHED"
    assert [each.info.status for each in children] == ["FINISHED", "FINISHED", "FAILED", "FAILED"]
    client = MlflowClient(f"sqlite:///{sweep.workspace / 'mlflow.db'}")
    failed = children[2].info.run_id
    assert {each.path for each in client.list_artifacts(failed)} == {"config.yaml", "error.txt"}
    error = Path(client.download_artifacts(failed, "error.txt"))
    assert "MemoryError" in error.read_text(encoding="utf-8")


def test_a_sweep_without_a_complete_trial_fails(sweep: Sweep) -> None:
    told = sweep("run", SMOKE, "--set=model.hidden=[1000000, 1000000]", "--trials=2", code=1)
    assert "no trial completed; trial 1 failed: exception: " in told
    assert "MemoryError" in told
    assert sweep.show("smoke")["state"] == "failed"


LONG = (
    "--set=training.epochs=150",
    "--set=search.pruner={asha: {min_epochs: 1}}",
    "--set=model.hidden=[128, 128]",
    "--trials=40",
)


def test_ctrl_c_while_ray_starts_ends_at_once(offline: Sweep) -> None:
    process = offline.start("run", SMOKE)
    driver = psutil.Process(process.pid)
    eventually(lambda: any(each.name() == "gcs_server" for each in driver.children()), 60)
    family = driver.children(recursive=True)
    process.send_signal(signal.SIGINT)
    since = time.monotonic()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output + errors
    assert "Traceback" not in errors
    assert time.monotonic() - since < 5
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert offline.show("smoke")["trials"] == []


def test_ctrl_c_once_lets_running_trials_finish(sweep: Sweep) -> None:
    process = sweep.start("run", SMOKE, *LONG)
    eventually(lambda: _ended(sweep) >= 2, 60)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 130, errors
    shown = sweep.show("smoke")
    assert shown["state"] == "interrupted"
    assert 2 <= len(shown["trials"]) < 40
    assert {each["state"] for each in shown["trials"]} <= {"complete", "pruned"}
    assert shown["looks_at_test"] == []
    assert {run.info.status for run in sweep.runs("smoke")} == {"FINISHED", "KILLED"}
    assert sweep.runs("smoke")[0].info.status == "KILLED"


def test_ctrl_c_twice_stops_at_once(sweep: Sweep) -> None:
    process = sweep.start("run", SMOKE, *LONG, "--set=training.epochs=100000")
    eventually(lambda: _ended(sweep) >= 1, 60)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    shown = sweep.show("smoke")
    states = {each["state"] for each in shown["trials"]}
    assert "waiting" in states
    assert states <= {"complete", "pruned", "waiting"}
    assert {run.info.status for run in sweep.runs("smoke")} <= {"FINISHED", "KILLED"}


def test_stop_ends_one_trial_and_then_the_sweep(sweep: Sweep) -> None:
    process = sweep.start("run", SMOKE, "--trials=4", "--set=training.epochs=100000")
    eventually(lambda: _started(sweep) >= 2, 60)
    told = sweep("stop", "smoke", "--trial", 1)
    assert told == "asked trial 1 to stop\n"
    eventually(lambda: _ended(sweep) == 1, 30)
    trial = sweep.show("smoke")["trials"][1]
    assert (trial["state"], trial["reason"]) == ("stopped", "stopped by the user")
    sweep("stop", "smoke")
    sweep("stop", "smoke")
    process.communicate(timeout=60)
    assert process.returncode == 130
    shown = sweep.show("smoke")
    assert shown["state"] == "interrupted"
    assert {run.info.status for run in sweep.runs("smoke")} == {"KILLED"}
    assert "is not running" in sweep("stop", "smoke", code=2)


def test_after_kill_9_a_sweep_goes_on_and_no_trial_is_lost_or_doubled(sweep: Sweep) -> None:
    arguments = ("run", SMOKE, "--trials=16", "--set=training.epochs=60")
    process = sweep.start(*arguments)
    eventually(lambda: _ended(sweep) >= 3, 60)
    process.kill()
    process.communicate(timeout=30)
    before = {each["number"]: each for each in sweep.show("smoke")["trials"]}
    assert any(each["state"] == "waiting" for each in before.values())
    sweep(*arguments)
    after = sweep.show("smoke")["trials"]
    assert [each["number"] for each in after] == list(range(16))
    assert {each["state"] for each in after} == {"complete"}
    for number, trial in before.items():
        if trial["state"] == "complete":
            assert after[number]["values"] == trial["values"]
        assert after[number]["params"] == trial["params"]
    runs = sweep.runs("smoke")
    assert [int(run.data.tags.get("sweep.trial", -1)) for run in runs] == list(range(-1, 16))
    assert {run.info.status for run in runs} == {"FINISHED"}
    client = MlflowClient(f"sqlite:///{sweep.workspace / 'mlflow.db'}")
    for run in runs[1:]:
        steps = [each.step for each in client.get_metric_history(run.info.run_id, "val_loss")]
        assert steps == list(range(1, 61))


def test_a_second_driver_is_sent_away(sweep: Sweep) -> None:
    process = sweep.start("run", SMOKE, *LONG)
    eventually(lambda: _ended(sweep) >= 1, 60)
    told = sweep("run", SMOKE, *LONG, code=3)
    assert f"pid {process.pid}" in told
    assert json.loads(sweep("list", "--json"))[0]["state"] == "running"
    process.kill()
    process.communicate(timeout=30)


def test_another_study_of_the_same_name_is_refused(finished: Sweep) -> None:
    told = finished("run", SMOKE, "--set=replicates=3", code=2)
    assert told.startswith("name: ")


def test_resources_that_no_machine_has_are_refused_and_nothing_stays(sweep: Sweep) -> None:
    told = sweep("run", SMOKE, "--set=resources.gpu=8", code=2)
    assert "no machine has cpu 1 and gpu 8" in told
    assert json.loads(sweep("list", "--json")) == []
    assert list(sweep.workspace.iterdir()) == []


def _ended(sweep: Sweep) -> int:
    return sum(each.state.is_finished() for each in _trials(sweep))


def _started(sweep: Sweep) -> int:
    return len(_trials(sweep))


def _trials(sweep: Sweep) -> list[optuna.trial.FrozenTrial]:
    try:
        return Storage(Workspace(sweep.workspace).study("smoke").trials, "smoke").trials()
    except FileNotFoundError:  # not made yet
        return []
