"""One Ray for the whole test session, and the command line as a user calls it."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "studies" / "smoke.yaml"


# Ray reads these when it is imported.
os.environ |= {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
}


@pytest.fixture(scope="session")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray head with two slots, in processes of its own; joining needs its token."""
    folder = tmp_path_factory.mktemp("ray")
    port = 20000 + os.getpid() % 20000
    ray = str(Path(sys.executable).with_name("ray"))
    command = [ray, "start", "--head", "--block", "--num-cpus=2", "--include-dashboard=false"]
    # Ray's sockets need a short path.
    sockets = Path(tempfile.mkdtemp(prefix="ray"))
    command += [f"--port={port}", f"--temp-dir={sockets}"]
    with (folder / "log").open("wb") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 60
    while b"Ray runtime started" not in (folder / "log").read_bytes():
        if head.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"Ray did not start: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.2)
    yield f"127.0.0.1:{port}"
    for child in psutil.Process(head.pid).children(recursive=True):
        child.kill()
    head.kill()
    head.wait(30)
    shutil.rmtree(sockets, ignore_errors=True)


class Sweep:
    """`python -m sweep` in a workspace of its own."""

    def __init__(self, workspace: Path, address: str | None, **environment: str) -> None:
        self.workspace = workspace
        self._environment = {
            **os.environ,
            "SWEEP_WORKSPACE": str(workspace),
            "PYTHONPATH": os.pathsep.join(
                [str(ROOT), *os.environ.get("PYTHONPATH", "").split(":")]
            ),
        }
        self._environment.pop("MLFLOW_TRACKING_URI", None)
        if address is not None:
            self._environment["RAY_ADDRESS"] = address
        self._environment |= environment

    def start(self, *arguments: object) -> "subprocess.Popen[str]":
        """Starts a command and returns at once."""
        return subprocess.Popen(
            [sys.executable, "-m", "sweep", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.workspace.parent,
            env=self._environment,
        )

    def __call__(self, *arguments: object, code: int = 0) -> str:
        """Runs a command to its end, expects an exit code, returns what it printed."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=100)
        assert process.returncode == code, output + errors
        assert "Traceback" not in errors, errors
        return output if code == 0 else output + errors

    def show(self, name: str) -> dict[str, Any]:
        """What `show NAME --json` prints."""
        shown: dict[str, Any] = json.loads(self("show", name, "--json"))
        return shown

    def runs(self, name: str) -> list[Any]:
        """The runs of a study in MLflow, the parent first."""
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.workspace / 'mlflow.db'}")
        experiment = client.get_experiment_by_name(name)
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        return sorted(runs, key=lambda run: int(run.data.tags.get("sweep.trial", -1)))


@pytest.fixture
def sweep(tmp_path: Path, ray_address: str) -> Sweep:
    """The command line on the session's Ray."""
    return Sweep(tmp_path / "results", ray_address)


@pytest.fixture
def offline(tmp_path: Path) -> Sweep:
    """The command line where nothing needs Ray."""
    return Sweep(tmp_path / "results", None)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> Sweep:
    """A workspace in which the smoke study has been run."""
    made = Sweep(tmp_path_factory.mktemp("finished") / "results", ray_address)
    made("run", SMOKE)
    return made


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)
