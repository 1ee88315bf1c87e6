"""The services of a cluster's head, real ones: started together, looked after, ended together."""

import configparser
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
import pytest
import requests

from cluster.tracking import Tracking
from tests.integration.conftest import ROOT, eventually
from tests.integration.mlflow_server import empty_store
from tests.integration.postgres import binaries
from tests.integration.ray_head import free_ports

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed"),
]


class Started:
    """A head with a home and ports of its own, and the process that looks after it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.sweep = self.home / ".sweep"
        token = self.home / "token"
        token.touch(mode=0o600)
        token.write_text("0123456789abcdef" * 4, encoding="ascii")
        self.postgres, self.mlflow, self._ray, jobs, *rest = free_ports(8)
        plain = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        environment = plain | {
            "HOME": str(self.home),
            "PGDATA": str(folder / "data"),
            "PGPORT": str(self.postgres),
            "MLFLOW_PORT": str(self.mlflow),
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        names = ("node-manager", "object-manager", "dashboard-agent-listen", "dashboard-agent-grpc")
        options = [f"--{name}-port={rest.pop()}" for name in names]
        options += [f"--port={self._ray}", f"--dashboard-port={jobs}"]
        options += ["--num-cpus=1", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"]
        options += [f"--temp-dir={folder / 'r'}"]
        command = [sys.executable, "-m", "cluster.head", *options]
        subprocess.run(command, check=True, env=environment, cwd=ROOT, timeout=320)
        marks = ("cluster.head", "--serve", f"--port={self._ray}")
        (self.supervisor,) = (
            each for each in psutil.process_iter() if set(marks) <= set(_words(each))
        )

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for it, but PostgreSQL, which has left its parent."""
        return [self.supervisor, *self.supervisor.children(recursive=True)]

    def find(self, name: str) -> psutil.Process | None:
        """The process whose program or module has this name."""
        for each in self.processes():
            if any(Path(word).name == name for word in _words(each)[:4]):
                return each
        return None

    def password(self) -> str:
        return (self.sweep / "pgpass").read_text(encoding="ascii").strip().rpartition(":")[2]

    def trials(self, password: str) -> "psycopg.Connection[tuple[str, ...]]":
        where = {"host": "127.0.0.1", "port": self.postgres, "user": "sweep", "dbname": "studies"}
        return psycopg.connect(**where, password=password, connect_timeout=5)  # type: ignore[arg-type]


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


@contextmanager
def started() -> Iterator[Started]:
    folder = Path(tempfile.mkdtemp(prefix="head"))  # Ray's sockets need a short path
    folder.chmod(0o755)  # PostgreSQL's own user must get in
    try:
        made = Started(folder)
        processes = made.processes()
        try:
            yield made
        finally:
            with suppress(psutil.NoSuchProcess):
                made.supervisor.terminate()
            psutil.wait_procs(processes, timeout=60)
            for each in processes:
                with suppress(psutil.Error):
                    each.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_services_of_a_head_live_and_end_together() -> None:
    with started() as head:
        password = head.password()
        assert (head.sweep / "pgpass").stat().st_mode & 0o777 == 0o600
        with head.trials(password) as connection:
            databases = connection.execute("SELECT datname FROM pg_database").fetchall()
        assert {("studies",), ("mlflow",)} <= set(databases)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            head.trials("password")

        raylet = head.find("raylet")
        assert raylet is not None
        environment = raylet.environ()  # that of every job
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["MLFLOW_TRACKING_URI"] == f"http://127.0.0.1:{head.mlflow}"
        assert str(head.postgres) in environment["SWEEP_STORAGE"]
        for each in head.processes():
            with suppress(psutil.NoSuchProcess):
                assert password not in str(each.environ()) + str(each.cmdline())

        # What ends is started again.
        server = head.find("mlflow")
        assert server is not None
        os.killpg(server.pid, signal.SIGKILL)
        assert _health(head) is None
        eventually(lambda: _health(head) == 200, 120)

        # As `ray stop` (which ends every Ray of a machine): the raylet first, the store last.
        store = head.find("gcs_server")
        assert store is not None
        waiting = raylet.parent()
        assert waiting is not None
        for group in ([raylet], set(waiting.children()) - {raylet, store}, [store]):
            for each in group:
                with suppress(psutil.NoSuchProcess):
                    each.terminate()
            psutil.wait_procs(group, timeout=30)
        head.supervisor.wait(60)
        assert not is_open(head.postgres)
        assert not is_open(head.mlflow)


@pytest.mark.skipif(find_spec("flask_wtf") is None, reason="needs Flask-WTF (mlflow[auth])")
def test_an_mlflow_that_others_can_reach_asks_for_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_HOST", "127.0.0.2")  # another address, though nobody else's
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "127.0.0.2:*")
    monkeypatch.setenv("MLFLOW_PORT", str(free_ports(1)[0]))
    (tmp_path / "mlflow.db").write_bytes(empty_store())
    server = Tracking(tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "pgpass")
    server.start()
    try:
        kept = tmp_path / ".mlflow" / "credentials"
        assert kept.stat().st_mode & 0o777 == 0o600
        credentials = configparser.ConfigParser()
        credentials.read(kept)
        password = credentials["mlflow"]["mlflow_tracking_password"]
        assert _experiments(server.uri) == 401
        assert _experiments(server.uri, "admin", password[1:]) == 401
        assert _experiments(server.uri, "admin", password) == 200
    finally:
        server.stop()
    assert not server.running()


def _health(head: Started) -> int | None:
    try:
        return requests.get(f"http://127.0.0.1:{head.mlflow}/health", timeout=5).status_code
    except requests.ConnectionError:
        return None


def _experiments(uri: str, *who: str) -> int:
    url = f"{uri}/api/2.0/mlflow/experiments/search"
    auth = (who[0], who[1]) if who else None
    return requests.get(url, params={"max_results": "1"}, auth=auth, timeout=60).status_code
