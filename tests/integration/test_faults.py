"""What a machine can do to a sweep: a full disk, a held lock, a link that hangs, no memory."""

import fcntl
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, SMOKE, Sweep, eventually

DISK = "3m"
"""Enough for the beginnings of a sweep with weights of 0.3 MB a trial, and not for its end."""

HEAVY = (
    "--set=search.sampler=random",
    "--set=search.pruner=none",
    "--set=search.trials=10",
    "--set=model.hidden=[64, 64]",
    "--set=replicates=8",
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that is soon full."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_full_disk_ends_a_sweep_that_goes_on_when_there_is_room(
    disk: Path, ray_address: str
) -> None:
    sweep = Sweep(disk / "results", ray_address)
    told = sweep("run", SMOKE, *HEAVY, code=1)
    assert "No space left on device" in told or "disk is full" in told
    assert "python -m sweep resume smoke" in told
    assert "Traceback" not in told
    subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
    before = {each["number"]: each for each in sweep.show("smoke")["trials"] if each["values"]}
    sweep("resume", "smoke")
    trials = sweep.show("smoke")["trials"]
    assert [each["number"] for each in trials] == list(range(10))
    assert {each["state"] for each in trials} == {"complete"}
    assert all(trials[number]["values"] == each["values"] for number, each in before.items())
    _, *children = sweep.runs("smoke")
    assert [each.info.status for each in children] == ["FINISHED"] * 10


def test_a_lock_that_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    """Both locks of a study: the one on its journal, and the one on the queue to MLflow."""
    journal, outbox = tmp_path / "trials.log", tmp_path / "outbox.db"
    script = f"""
from pathlib import Path
from sweep.recording.outbox import Outbox
from sweep.recording.records import SweepEnded
from sweep.search.journal import Journal
journal, outbox = Journal(Path({str(journal)!r})), Outbox(Path({str(outbox)!r}), patience=60)
print("open", flush=True)
input()
journal.append_logs([{{"op_code": 0}}])
outbox.add(SweepEnded("complete", 0, {{}}, {{}}))
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        with (
            journal.open("ab") as file,
            closing(sqlite3.connect(outbox, isolation_level=None)) as db,
        ):
            fcntl.flock(file, fcntl.LOCK_EX)
            db.execute("BEGIN IMMEDIATE")
            writer.stdin.write("\n")
            writer.stdin.flush()
            time.sleep(0.5)
            assert journal.read_bytes() == b""
            fcntl.flock(file, fcntl.LOCK_UN)
            eventually(lambda: journal.read_bytes() == b'{"op_code":0}\n', 20)
            assert writer.poll() is None
            db.execute("ROLLBACK")
        _, said = writer.communicate(timeout=30)
    assert writer.returncode == 0
    assert said.count("waiting for the study storage") == 1


def test_a_lock_that_is_held_for_ever_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweep.search import journal
    from sweep.workspace import StorageUnavailable

    monkeypatch.setattr(journal, "WAIT_SECONDS", 0.1)
    mine = journal.Journal(tmp_path / "trials.log")
    with (tmp_path / "trials.log").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StorageUnavailable, match="another process holds the lock"):
            mine.append_logs([{"op_code": 0}])


def test_a_link_that_hangs_gives_its_slot_to_others(sweep: Sweep) -> None:
    sweep(
        "run",
        SMOKE,
        "--set=search.sampler=grid",
        "--set=search.pruner=none",
        "--set=model.activation=relu",
        "--set=model.dropout=0",
        "--set=training.epochs={choose: [1000000, 1, 2]}",
        "--set=training.learning_rate=0.01",
        "--set=resources.timeout=4",
        "--set=record.weights=none",
    )
    trials = sweep.show("smoke")["trials"]
    assert [each["state"] for each in trials].count("complete") == 2
    (hung,) = [each for each in trials if each["state"] == "failed"]
    assert (hung["params"]["training.epochs"], hung["reason"]) == (1000000, "timed out")


@pytest.mark.slow
def test_a_worker_out_of_memory_is_lost(tmp_path: Path) -> None:
    """Ray's memory monitor kills the worker; a limit of next to nothing makes it do so at once."""
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from sweep.datasets import Datasets
from sweep.scheduling.ray_runner import RayRunner
from sweep.scheduling.runner import Link, Lost
from sweep.spec.fields import Resources
from sweep.spec.study import check
study = check({{"name": "a", "training": {{"epochs": 1_000_000}}}})
runner = RayRunner(Datasets(study), Resources(), None)
runner.submit(Link(0, study.first_config(), 1_000_000, 0, 1))
found = []
while not found:
    found = runner.wait(1)
runner.close()
assert isinstance(found[0], Lost), found
print(found[0].error)
"""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        "RAY_memory_usage_threshold": "0.0001",
        "RAY_memory_monitor_refresh_ms": "100",
        "PYTHONPATH": str(ROOT),
    }
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("OutOfMemoryError")
