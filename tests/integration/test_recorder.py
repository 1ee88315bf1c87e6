"""What the driver puts on record is what the real MLflow then holds."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from sweep.recording import recorder
from sweep.recording.outbox import Backlog, Outbox
from sweep.recording.projection import name_of
from sweep.recording.records import (
    Epochs,
    Scalar,
    SweepEnded,
    SweepStarted,
    TrialEnded,
    TrialStarted,
)
from tests.integration.mlflow_server import empty_store
from tests.integration.recorded import CONFIG, EPOCHS, T0, Found, Place, ignore, wait_for

pytestmark = pytest.mark.filterwarnings(  # MLflow's own use of SQLAlchemy
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "mlflow.db").write_bytes(empty_store())
    place = Place(tmp_path)
    yield place
    place.outbox.close()


def test_the_whole_life_of_a_sweep(place: Place, tmp_path: Path) -> None:
    """The real process, from the first record to the last artifact."""
    recording = place.start()
    place.outbox.add(SweepStarted("Which one?", "name: digits\n", T0, {"host": "here"}))
    place.train(0)
    kept = tmp_path / "kept.npz"
    kept.hardlink_to(place.study / "weights/0.npz")
    place.begin(1)
    place.link(1, 1, 3)
    wait_for(lambda: 1 in place.outbox.run_ids())  # seen before it ends
    pid = recording._process.pid
    assert os.getsid(pid) == pid != os.getsid(0)
    niceness = os.getpriority(os.PRIO_PROCESS, 0) + recorder.NICENESS
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(niceness, 19)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        assert store.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert Found(place.uri).trials[1].info.status == "RUNNING"
    place.end(1, "pruned", reason="too slow")
    place.begin(2)
    place.outbox.add(TrialEnded(2, "failed", 0, T0 + 5, "ValueError: no", error="Traceback …\n"))
    place.begin(3)
    place.end(3, "stopped", reason="interrupted")
    place.outbox.add(SweepEnded("complete", T0 + 99, {"best_value": 0.5}, {"sweep.best": "0"}))
    assert recording.drain(100, ignore) == Backlog(0, 0, 0)
    assert recording.trouble is None

    found = Found(place.uri)
    assert found.experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert found.experiment.artifact_location == (tmp_path / "mlartifacts/digits").as_uri()
    (parent,) = found.parents
    assert parent.info.run_name == "digits"
    assert (parent.info.status, parent.info.start_time, parent.info.end_time) == (
        "FINISHED",
        T0,
        T0 + 99,
    )
    assert parent.data.metrics == {"best_value": 0.5}
    assert parent.data.tags["mlflow.note.content"] == "Which one?"
    assert parent.data.tags["sweep.study"] == "digits"
    assert parent.data.tags["host"] == "here"
    assert found.artifacts(parent) == {"study.yaml": b"name: digits\n"}

    states = {n: (run.info.status, run.data.tags["sweep.state"]) for n, run in found.trials.items()}
    assert states == {
        0: ("FINISHED", "complete"),
        1: ("FINISHED", "pruned"),
        2: ("FAILED", "failed"),
        3: ("KILLED", "stopped"),
    }
    first = found.trials[0]
    assert first.info.run_name == "#0 elu"
    assert (first.info.start_time, first.info.end_time) == (T0, T0 + 60_000)
    assert first.data.params == {"model.activation": "elu", "model.dropout": "0.25", "n": "0"}
    assert first.data.tags["sweep.study"] == "digits"
    assert "complete after 9 epochs" in first.data.tags["mlflow.note.content"]
    spread = [value for _, value in found.points(first, "train_loss_sd")]
    assert spread == pytest.approx([0.001] * EPOCHS)
    assert found.points(first, "learning_rate_sd") == []
    seconds = [p.timestamp for p in found.client.get_metric_history(first.info.run_id, "val_loss")]
    assert seconds[3:] == [T0 + 9000 - 500 * after for after in range(5, -1, -1)]
    assert found.trials[1].data.tags["sweep.reason"] == "too slow"
    assert len(found.points(found.trials[1], "val_loss")) == 3

    artifacts = found.artifacts(first)
    assert artifacts["config.yaml"].decode() == CONFIG
    assert artifacts["learning_curve.png"].startswith(b"\x89PNG")
    assert artifacts["weights.npz"] == kept.read_bytes()
    assert found.artifacts(found.trials[2]) == {
        "config.yaml": CONFIG.encode(),
        "error.txt": "Traceback …\n".encode(),
    }
    assert list((place.study / "weights").iterdir()) == []
    assert not (place.study / "outgoing").exists()


def test_a_resumed_sweep_goes_on_under_the_same_parent(place: Place) -> None:
    """Also: a recorder that is killed is started again."""
    place.outbox.add(SweepStarted("Which one?", "name: digits\n", T0))
    place.train(0)
    place.begin(1)
    place.link(1, 1, 3)
    place.outbox.add(SweepEnded("stopped", T0 + 1))
    place.send_all()
    found = Found(place.uri)
    before = found.parents[0]
    assert (before.info.status, found.trials[1].info.status) == ("KILLED", "RUNNING")

    recording = place.start()
    place.outbox.add(SweepStarted("Which one?", "name: digits\n# more\n", T0 + 2))
    place.link(1, 1, 6)  # a link that is done again
    place.link(1, 7, EPOCHS)
    place.end(1)
    os.kill(recording._process.pid, signal.SIGKILL)
    recording._process.wait()
    place.train(2)
    place.outbox.add(SweepEnded("complete", T0 + 3))
    assert recording.drain(100, ignore).empty
    found = Found(place.uri)
    found.check_complete(range(3))
    (after,) = found.parents
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    assert (after.info.start_time, after.info.end_time) == (T0, T0 + 3)
    assert found.artifacts(after) == {"study.yaml": b"name: digits\n# more\n"}


def test_an_older_database_is_left_as_it_is(place: Place, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        store.execute("UPDATE alembic_version SET version_num = 'cc1f77228345'")
        store.execute("DROP TABLE trace_tags")  # what MLflow would make anew
        store.commit()
    before = (tmp_path / "mlflow.db").read_bytes()
    place.train(0)
    recording = place.start()
    wait_for(lambda: recording.trouble is not None)
    assert "schema cc1f77228345" in str(recording.trouble)
    assert "mlflow db upgrade sqlite:///" in str(recording.trouble)
    assert recording.behind().startswith("MLflow is 4 records behind: the MLflow database was made")
    recording.stop()
    assert place.outbox.backlog().records == 4
    assert (tmp_path / "mlflow.db").read_bytes() == before


def test_what_mlflow_refuses_is_set_aside_and_the_rest_goes_on(place: Place) -> None:
    place.outbox.add(SweepStarted("Which one?", "name: digits\n", T0))
    place.begin(0)
    place.send_all()
    found = Found(place.uri)
    found.client.delete_run(found.trials[0].info.run_id)
    place.link(0, 1, 3)
    place.end(0)
    place.train(1)
    place.send_all()
    refused = place.outbox.refused()
    assert [type(entry.record) for entry, _ in refused] == [Epochs, TrialEnded]
    assert all("must be in the 'active' state" in reason for _, reason in refused)
    (reason,) = place.outbox.reasons()
    assert "must be in the 'active' state" in reason
    found = Found(place.uri)
    assert len(found.children) == 2
    assert found.trials[1].info.status == "FINISHED"


def test_odd_names_and_values_arrive_by_the_rule(place: Place) -> None:
    odd = "a/b c ü €\0\ud800"
    params: dict[str, Scalar] = {
        "a?b": "x" * 10_000,
        "ü ber/x": None,
        "big": 10**400,
        "empty": "",
        "odd": odd,
    }
    params |= {"nan": float("nan"), "below": float("-inf"), "\ud800": 1}
    place.outbox.add(SweepStarted(odd * 1000, "name: digits\n", T0, {"ta/g ü": odd}))
    place.outbox.add(TrialStarted(0, "#0 ünïcode 'quoted' " + "x" * 300, params, "", T0))
    values = {"loss": np.array([[np.nan], [np.inf], [-np.inf]]), "bad*name": np.ones((3, 1))}
    place.outbox.add(Epochs(0, 1, values, T0))
    end = TrialEnded(0, "pruned", 3, T0, "diverged " * 2000, np.nan, [np.nan, 1.0], error=odd)
    place.outbox.add(end)
    place.send_all()
    assert place.outbox.refused() == []
    found = Found(place.uri)
    run = found.trials[0]
    assert set(run.data.params) == {name_of(name) for name in params}
    assert {"big", "empty", "ü ber/x"} < set(run.data.params)
    assert run.data.params[name_of("a?b")].endswith("x… (10000 characters)")
    assert run.data.params["big"] == str(10**400)
    assert run.data.params["ü ber/x"] == "null"
    loss = [value for _, value in found.points(run, "loss")]
    assert np.isnan(loss[0])
    assert loss[1:] == [np.finfo(float).max, -np.finfo(float).max]
    assert np.isnan(run.data.metrics["value"])
    assert "value_sd" not in run.data.metrics
    shown = "a/b c ü €??"
    assert (run.data.params["odd"], run.data.params["nan"]) == (shown, "nan")
    assert run.data.params["below"] == "-inf"
    assert found.artifacts(run)["error.txt"].decode() == "a/b c ü €\0?"
    tags = found.parents[0].data.tags
    assert tags["ta/g ü"] == shown
    assert tags["mlflow.note.content"].endswith("… (11000 characters)")
    assert len([name for name in run.data.metrics if name.startswith("bad_name-")]) == 1


def test_weights_that_are_gone_stop_nothing(place: Place) -> None:
    place.train(0)
    (place.study / "weights/0.npz").unlink()
    place.send_all()
    run = Found(place.uri).trials[0]
    assert (run.info.status, run.data.tags["sweep.missing"]) == ("FINISHED", "weights.npz")


def test_a_recorder_that_is_waited_for_hurries(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.recording.recording.PATIENCE_SECONDS", 0.0)
    recording = place.start()
    place.train(0)
    seen = []

    def look(_backlog: Backlog) -> None:
        pid = recording._process.pid
        with suppress(ProcessLookupError):
            seen.append((pid, os.getpriority(os.PRIO_PROCESS, pid)))

    assert recording.drain(100, look) == Backlog(0, 0, 0)
    assert len({pid for pid, _ in seen}) == 1
    assert {niceness for _, niceness in seen} == {os.getpriority(os.PRIO_PROCESS, 0)}
    assert list(Found(place.uri).trials) == [0]


def test_an_outbox_that_was_lost_is_made_up_for(place: Place) -> None:
    """The runs of an earlier head are found again; what its outbox had not sent is told anew."""
    place.outbox.add(SweepStarted("Which one?", "name: digits\n", T0))
    place.train(0)
    place.begin(1)
    place.link(1, 1, 3)
    place.send_all()
    before = Found(place.uri)
    identity = place.outbox.sweep_id
    place.outbox.close()
    (place.study / "outbox.db").unlink()

    place.outbox = Outbox(place.study / "outbox.db")
    params: dict[str, Scalar] = {"model.activation": "elu", "model.dropout": 0.25}
    recalled = [
        each
        for n in (0, 2)
        for each in (
            TrialStarted(n, f"#{n}", params | {"n": n}, CONFIG, T0 + 8, recalled=True),
            TrialEnded(n, "complete", EPOCHS, T0 + 9, value=0.5, values=[0.5], recalled=True),
        )
    ]
    place.outbox.renew(identity, recalled)
    place.outbox.add(SweepStarted("Which one?", "name: digits\n", T0 + 99))
    place.outbox.add(TrialStarted(1, "#1", params | {"n": 1}, CONFIG, T0 + 99))  # after its run
    place.link(1, 1, EPOCHS)  # from the beginning: its state was lost, too
    place.end(1)
    place.send_all()
    found = Found(place.uri)
    assert [run.info.run_id for run in found.parents] == [run.info.run_id for run in before.parents]
    assert len(found.children) == 3
    for number in (0, 1):
        assert found.trials[number].info.run_id == before.trials[number].info.run_id
        steps = [step for step, _ in found.points(found.trials[number], "val_loss")]
        assert steps == list(range(1, EPOCHS + 1))
        assert found.points(found.trials[number], "value") == [(EPOCHS, 0.5)]
        assert "learning_curve.png" in found.artifacts(found.trials[number])
    assert found.trials[0].data.tags == before.trials[0].data.tags
    assert place.outbox.run_ids()[0] == before.trials[0].info.run_id
    assert found.trials[2].info.status == "FINISHED"
    assert found.points(found.trials[2], "value") == [(EPOCHS, 0.5)]
    assert list(found.artifacts(found.trials[2])) == ["config.yaml"]
