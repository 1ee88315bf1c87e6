"""A head that is lost with everything on it: a new one goes on from PostgreSQL and `storage`."""

import shutil
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from sweep.recording.outbox import Outbox
from sweep.recording.records import Epochs
from sweep.search.storage import Storage
from tests.integration.conftest import SMOKE, Sweep, eventually
from tests.integration.postgres import Postgres, postgres
from tests.integration.ray_head import Head, head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

EPOCHS = 300
TRIALS = 5
LONG = (
    "--set=model.hidden=[128, 128]",
    f"--set=training.epochs={EPOCHS}",
    "--set=checkpoint.seconds=1",
    f"--trials={TRIALS}",
)


def driver(workspace: Path, server: Postgres, ray: Head) -> Sweep:
    """The command line on a head, with its trials and its runs in PostgreSQL."""
    return Sweep(
        workspace,
        ray.address,
        PGPASSFILE=str(server.passfile),
        SWEEP_STORAGE=server.url("studies"),
        MLFLOW_TRACKING_URI=server.url("mlflow"),
        RAY_AUTH_TOKEN=ray.token.read_text(encoding="ascii"),
    )


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_new_head_goes_on_where_the_lost_one_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    if scheme:
        pytest.importorskip("fsspec", reason="fsspec is not installed (extra storage)")
    shared = tmp_path / "shared"
    with postgres("studies", "mlflow") as server:
        monkeypatch.setenv("PGPASSFILE", str(server.passfile))
        with head(tmp_path / "head") as ray:
            first = driver(tmp_path / "head" / "results", server, ray)
            process = first.start("run", SMOKE, *LONG, f"--set=storage={scheme}{shared}")
            eventually(lambda: len(_ended(server)) >= 2 and len(_saved(shared)) >= 2, 200)
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            for each in children:  # the recorder among them
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            process.communicate(timeout=30)
        shutil.rmtree(tmp_path / "head")
        before, saved = _ended(server), _saved(shared)
        assert 2 <= len(before) < TRIALS
        assert set(saved).isdisjoint(before)

        with head(tmp_path / "new") as ray:
            again = driver(tmp_path / "new" / "results", server, ray)
            process = again.start("resume", "smoke")
            output, errors = process.communicate(timeout=300)
            assert process.returncode == 0, output + errors
            assert "made anew from $SWEEP_STORAGE" in errors
            trials = again.show("smoke")["trials"]
            resumed = max(saved, key=saved.__getitem__)
            assert "identical" in again("reproduce", "smoke", resumed)

        assert [each["state"] for each in trials] == ["complete"] * TRIALS
        assert {number: each for number, each in _ended(server).items() if number in before} == (
            before
        )
        with closing(Outbox(tmp_path / "new" / "results" / "smoke" / "outbox.db")) as outbox:
            for number, epoch in saved.items():
                links = [each for each in outbox.records(number) if isinstance(each, Epochs)]
                assert links[0].first_epoch > epoch
                assert links[-1].last_epoch == EPOCHS
        assert _saved(shared) == {}
        assert list(shared.iterdir()) == []

        client = MlflowClient(server.url("mlflow"))
        experiment = client.get_experiment_by_name("smoke")
        runs = client.search_runs([experiment.experiment_id])
        numbered = {int(run.data.tags.get("sweep.trial", -1)): run.info for run in runs}
        assert len(runs) == len(numbered) == TRIALS + 1
        assert {info.status for info in numbered.values()} == {"FINISHED"}
        assert [each["mlflow_run_id"] for each in trials] == [
            numbered[number].run_id for number in range(TRIALS)
        ]
        for number, info in numbered.items():
            if number < 0:
                continue
            (result,) = client.get_metric_history(info.run_id, "value")
            assert result.step == EPOCHS
            steps = [each.step for each in client.get_metric_history(info.run_id, "val_loss")]
            assert len(steps) == len(set(steps))
            # What the lost outbox had not sent of a trial that had ended is not trained again.
            assert EPOCHS in steps or number in before


def _ended(server: Postgres) -> dict[int, object]:
    """The trials that have ended: when, and with which value."""
    try:
        trials = Storage(server.url("studies"), "smoke").trials()
    except FileNotFoundError:
        return {}
    return {
        each.number: (each.datetime_complete, each.value)
        for each in trials
        if each.state.is_finished()
    }


def _saved(shared: Path) -> dict[int, int]:
    """The trials whose states are kept, and the epochs that these have."""
    names = [each.stem.split("-") for each in shared.glob("smoke-*/*.npz")]
    return {int(number): int(epoch) for number, epoch in names if number.isdecimal()}
