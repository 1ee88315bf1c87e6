"""A cluster of three hosts, brought up with `ray up`; in a sweep one dies, and one is cut off."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.conftest import ROOT, SMOKE, eventually
from tests.integration.hosts import HOME, Host, hosts, missing
from tests.integration.postgres import binaries

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed"),
]

ADDRESSES = {
    "head": "10.77.0.1",
    "one": "10.77.0.2",
    "two": "10.77.0.3",
    "laptop": "10.77.0.4",
}
TRIALS = 16
JOBS = "http://127.0.0.1:8265"
CLUSTER = f"{HOME}/cluster.yaml"
RUNS = """
SELECT value, status FROM runs JOIN tags USING (run_uuid)
WHERE key = 'sweep.trial' ORDER BY value::int
"""


class Laptop:
    """Commands as a user types them there, in the folder of the repository."""

    def __init__(self, host: Host) -> None:
        self._host = host
        description: dict[str, Any] = yaml.safe_load(
            (ROOT / "ray_cluster_local.yaml").read_text(encoding="utf-8")
        )
        workers = [ADDRESSES["one"], ADDRESSES["two"]]
        description["provider"] |= {"head_ip": ADDRESSES["head"], "worker_ips": workers}
        description["auth"] = {"ssh_user": "root", "ssh_private_key": f"{HOME}/.ssh/id_ed25519"}
        (host.home / "cluster.yaml").write_text(yaml.safe_dump(description), encoding="utf-8")
        self("bash", "-c", "umask 077; ray get-auth-token --generate > /dev/null")

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """Starts a command and returns at once."""
        environment = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
        command = self._host.command(
            *arguments, folder=str(ROOT), PYTHONPATH=str(ROOT), **environment
        )
        return subprocess.Popen(command, text=True, **options)

    def __call__(self, *arguments: str, timeout: int = 700) -> str:
        """Runs a command to its end, and returns what it printed."""
        with self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                output, errors = process.communicate(timeout=timeout)
            finally:
                process.kill()
        assert process.returncode == 0, output + errors
        return output

    def sweep(self, *arguments: str) -> str:
        """Runs `python -m sweep`."""
        return self("python", "-m", "sweep", *arguments)

    def reaches_jobs(self) -> bool:
        """Whether the tunnel to the head stands."""
        probe = self._host.command("bash", "-c", ": < /dev/tcp/127.0.0.1/8265")
        return subprocess.run(probe, check=False, capture_output=True).returncode == 0

    def nodes(self) -> set[str]:
        """The addresses of the machines that are alive for Ray."""
        listed = self("ray", "list", "nodes", "--address", JOBS, "--format", "json")
        nodes = json.loads(listed[listed.index("[") :])
        return {each["node_ip"] for each in nodes if each["state"] == "ALIVE"}


@contextmanager
def tunnel(laptop: Laptop) -> Iterator[None]:
    """`ray dashboard`, whose tunnel stands as long as it runs."""
    with laptop.start("ray", "dashboard", CLUSTER, stdin=subprocess.DEVNULL) as process:
        try:
            eventually(laptop.reaches_jobs, 60)
            yield
        finally:
            process.terminate()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[dict[str, Host]]:
    with hosts(tmp_path, ADDRESSES) as made:
        for each in ("head", "one", "two"):
            install(made[each])
        yield made


def install(host: Host) -> None:
    """What `make .venv/ready` would make there: this test's own environment, whole."""
    venv = host.home / "sweep" / ".venv"
    venv.mkdir(parents=True)
    for each in ("bin", "lib", "pyvenv.cfg"):
        (venv / each).symlink_to(Path(sys.prefix) / each)
    (venv / "ready").touch()


def query(head: Host, database: str, statement: str) -> list[list[str]]:
    """Rows of the head's PostgreSQL."""
    where = ["-h", "127.0.0.1", "-p", "5433", "-U", "sweep", "-d", database]
    command = head.command(
        "psql", "-wAt", *where, "-c", statement, PGPASSFILE=f"{HOME}/.sweep/pgpass"
    )
    printed = subprocess.run(command, check=False, text=True, capture_output=True, timeout=60)
    return [line.split("|") for line in printed.stdout.splitlines()]


def complete(head: Host) -> int:
    return len(query(head, "studies", "SELECT 1 FROM trials WHERE state = 'COMPLETE'"))


def test_a_sweep_outlives_the_loss_of_machines(network: dict[str, Host]) -> None:
    laptop, head, one, two = (network[each] for each in ("laptop", "head", "one", "two"))
    user = Laptop(laptop)
    user("ray", "up", "--yes", CLUSTER)
    with tunnel(user):
        eventually(lambda: user.nodes() == {head.address, one.address, two.address}, 240)
        longer = ["--set", "training.epochs=400", "--set", "checkpoint.seconds=2"]
        user.sweep("submit", str(SMOKE), "--set", f"search.trials={TRIALS}", *longer)
        eventually(lambda: complete(head) >= 2, 180)
        one.kill()
        two.cut()
        assert complete(head) < TRIALS
        eventually(lambda: user.nodes() == {head.address}, 180)
        two.join()
        said = user.sweep("logs", "-f", "smoke")
        assert "lost and trained again" in said
        eventually(lambda: user.nodes() == {head.address, two.address}, 240)

        shown = json.loads(user.sweep("show", "smoke", "--json", "--address", JOBS))
        assert [each["number"] for each in shown["trials"]] == list(range(TRIALS))
        assert {each["state"] for each in shown["trials"]} == {"complete"}
        stored = query(head, "studies", "SELECT number, state FROM trials ORDER BY number")
        assert stored == [[str(number), "COMPLETE"] for number in range(TRIALS)]
        assert query(head, "mlflow", RUNS) == [
            [str(number), "FINISHED"] for number in range(TRIALS)
        ]

        jobs = user("bash", "-c", f"ray job list --address {JOBS} 2>&1")
        assert "sweep-smoke" in jobs  # what is scanned is there
        for secret in (head.home / ".ray" / "auth_token", head.home / ".sweep" / "pgpass"):
            word = secret.read_text(encoding="ascii").strip().rpartition(":")[2]
            assert word not in said
            assert word not in jobs
            assert found(head, word) == {str(secret)}
    user("ray", "down", "--yes", CLUSTER)
    eventually(lambda: not head.processes() + two.processes(), 240)


def found(host: Host, word: str) -> set[str]:
    """The files of the host in which a word stands."""
    places = [HOME, "/tmp/ray", "/var/lib/postgresql"]  # noqa: S108 (the host's own)
    search = host.command("grep", "-rlsF", "--exclude-dir=.venv", "--", word, *places)
    printed = subprocess.run(search, check=False, text=True, capture_output=True, timeout=60)
    return {line.replace(HOME, str(host.home), 1) for line in printed.stdout.splitlines()}
