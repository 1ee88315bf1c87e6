"""The soak command sees the losses that it is there to see."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__, chaos
from benchmarks.report import Row, row


def test_an_ending_told_twice_is_counted(tmp_path: Path) -> None:
    journal = tmp_path / "trials.log"
    endings = [(0, 1), (1, 2), (1, 2), (2, 0), (2, 3)]
    lines = [{"op_code": 6, "trial_id": trial, "state": state} for trial, state in endings]
    lines.append({"op_code": 4, "study_id": 0})
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert chaos._told_twice(journal) == 1


def test_victims_are_the_drivers_own() -> None:
    waiting = [sys.executable, "-c", "input()", "sweep.recording.recorder"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE) as recorder:
        found = chaos._found(os.getpid(), "recorder")
        assert found is not None
        assert found.pid == recorder.pid
        assert chaos._found(recorder.pid, "recorder") is None
        assert chaos._found(os.getpid(), "ray") is None


def test_a_loss_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(quick: bool, kills: int) -> tuple[list[Row], dict[str, int]]:
        return [row("trials missing", lost, kills, lost / kills, 0.0)], {}

    monkeypatch.setattr(chaos, "run", run)
    lost = 0
    __main__.main(["chaos", "--kills", "2"])
    lost = 1
    with pytest.raises(SystemExit, match="1"):
        __main__.main(["chaos", "--kills", "2"])
