"""Sweeps on a cluster through Ray Jobs: a real head, with a token, on loopback."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import requests

from sweep.search.storage import Storage
from tests.integration.conftest import ROOT, SMOKE, eventually
from tests.integration.ray_head import Head, head
from trainer import checkpoint

pytest.importorskip(
    "ray.dashboard.optional_deps",
    reason="needs Ray's Jobs API (ray[default])",
    exc_type=ImportError,
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with head(tmp_path_factory.mktemp("cluster")) as made:
        yield made


def call(
    cluster: Head, *arguments: object, code: int = 0, token: Path | None = None, timeout: int = 120
) -> str:
    """Runs a command as from a laptop, in an empty folder, and returns all that it printed."""
    process = subprocess.run(
        [sys.executable, "-m", "sweep", *map(str, arguments), "--address", cluster.url],
        capture_output=True,
        check=False,
        text=True,
        timeout=timeout,
        env=cluster.environment(token or cluster.token) | {"PYTHONPATH": _path()},
        cwd=cluster.home,
    )
    assert process.returncode == code, process.stdout + process.stderr
    assert "Traceback" not in process.stderr, process.stderr
    return process.stdout if code == 0 else process.stdout + process.stderr


def _path() -> str:
    return f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"


def test_a_sweep_on_the_cluster_from_a_laptop(cluster: Head) -> None:
    said = call(cluster, "submit", SMOKE, "--set", "name=far", "--set", "search.trials=4")
    assert "logs -f far" in said
    assert "far" in call(cluster, "logs", "-f", "far")
    (entry,) = json.loads(call(cluster, "list", "--json"))
    assert (entry["name"], entry["state"]) == ("far", "finished")
    shown = json.loads(call(cluster, "show", "far", "--json"))
    assert len(shown["trials"]) == 4
    assert all(each["mlflow_run_id"] for each in shown["trials"])
    assert (cluster.home / "results" / "far" / "trials.log").exists()

    call(cluster, "resume", "far", "--trials", "+2")
    call(cluster, "logs", "-f", "far")
    assert len(json.loads(call(cluster, "show", "far", "--json"))["trials"]) == 6

    told = call(cluster, "list", "--workspace", "results", code=2)
    assert "--workspace: is on the cluster's head, so it must be absolute there" in told
    assert "no study 'near'" in call(cluster, "show", "near", code=2)


def test_files_beside_the_study_file_travel_and_stay(cluster: Head, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    np.savez(tmp_path / "x.npz", x=rng.normal(size=(200, 3)) + y[:, None], y=y)
    text = SMOKE.read_text().replace("source: digits", "source: npz:x.npz")
    model = {"0.weight": rng.normal(size=(1, 3, 32)), "0.bias": np.zeros((1, 32))}
    model |= {"1.weight": rng.normal(size=(1, 32, 2)), "1.bias": np.zeros((1, 2))}
    checkpoint.save(tmp_path / "m.npz", model, {})
    text = text.replace("hidden: [32]", "hidden: [32]\n  start_from: {source: m.npz, freeze: 1}")
    (tmp_path / "mine.yaml").write_text(text)
    options = ("--set", "name=mine", "--set", "search.trials=2")
    said = call(cluster, "submit", tmp_path / "mine.yaml", *options, "--json")
    assert json.loads(said)["name"] == "mine"
    call(cluster, "logs", "-f", "mine")
    (tmp_path / "x.npz").unlink()
    (tmp_path / "m.npz").unlink()
    said = call(cluster, "resume", "mine", "--trials=+1", "--allow-code=none.such", "--json")
    assert json.loads(said)["job"].startswith("sweep-mine-")
    call(cluster, "logs", "-f", "mine")
    shown = json.loads(call(cluster, "show", "mine", "--json"))
    assert [each["state"] for each in shown["trials"]] == ["complete"] * 3
    (data,) = (cluster.home / "results" / "mine" / "data").glob("*/x.npz")
    stored = (cluster.home / "results" / "mine" / "study.yaml").read_text()
    assert f"npz:{data}" in stored.replace("\n  ", " ")

    told = call(cluster, "submit", tmp_path / "mine.yaml", code=2)
    assert (
        f"data.source: must be a file or a folder with files, is looked for at {tmp_path}" in told
    )


def test_stop_and_resume_from_a_laptop(cluster: Head) -> None:
    long = ["--set", "training.epochs=3000", "--set", "search.pruner=none"]
    call(cluster, "submit", SMOKE, "--set", "name=long", "--set", "search.trials=500", *long)
    trials = cluster.home / "results" / "long" / "trials.log"
    eventually(trials.exists, 60)
    call(cluster, "stop", "long")
    call(cluster, "stop", "long")
    call(cluster, "logs", "-f", "long", code=1)
    assert json.loads(call(cluster, "show", "long", "--json"))["state"] == "interrupted"


def test_two_sweeps_share_the_cluster(cluster: Head) -> None:
    """Of the trials that end while both are at work, each has at least a third."""
    names = ("left", "right")
    same = ["training.epochs=100", "search.trials=60", "record.weights=none", "record.models=none"]
    for name in names:
        assignments = (word for each in same for word in ("--set", each))
        call(cluster, "submit", SMOKE, "--set", f"name={name}", *assignments)
    for name in names:
        call(cluster, "logs", "-f", name)
    journals = {name: cluster.home / "results" / name / "trials.log" for name in names}
    trials = {name: Storage(file, name).trials() for name, file in journals.items()}
    starts = {name: [_time(each.datetime_start) for each in trials[name]] for name in names}
    ends = {name: [_time(each.datetime_complete) for each in trials[name]] for name in names}
    first, last = max(min(starts[name]) for name in names), min(max(ends[name]) for name in names)
    shares = [sum(first <= each <= last for each in ends[name]) for name in names]
    assert sum(shares) >= 20, "they were hardly at work at the same time"
    assert min(shares) >= sum(shares) / 3


def _time(at: datetime | None) -> float:
    assert at is not None
    return at.timestamp()


def test_nobody_gets_in_without_the_token(cluster: Head, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text(secrets.token_hex(32), encoding="ascii")
    assert requests.get(f"{cluster.url}/api/jobs/", timeout=10).status_code == 401
    headers = {"Authorization": f"Bearer {wrong.read_text()}"}
    refused = requests.get(f"{cluster.url}/api/jobs/", timeout=10, headers=headers)
    assert refused.status_code == 403
    call(cluster, "submit", SMOKE, code=2, token=wrong)

    join = f"import ray; ray.init(address={cluster.address!r}); print(ray.nodes())"
    for token in (None, wrong):
        joined = subprocess.run(
            [sys.executable, "-c", join],
            capture_output=True,
            check=False,
            text=True,
            timeout=100,
            env=cluster.environment(token),
            cwd=tmp_path,
        )
        assert joined.returncode != 0
        assert "NodeID" not in joined.stdout


def test_the_token_stands_nowhere_but_in_its_file(cluster: Head) -> None:
    call(cluster, "submit", SMOKE, "--set", "name=secret", "--set", "search.trials=2")
    call(cluster, "logs", "-f", "secret")
    secret = cluster.token.read_bytes()
    assert cluster.token.stat().st_mode & 0o777 == 0o600
    headers = {"Authorization": f"Bearer {secret.decode()}"}
    jobs = requests.get(f"{cluster.url}/api/jobs/", timeout=10, headers=headers).content
    assert b"sweep-secret" in jobs  # what is scanned is there
    assert secret not in jobs
    assert secret not in call(cluster, "logs", "secret").encode()
    files = [each for each in (cluster.home / "results").rglob("*") if each.is_file()]
    assert any(each.name == "mlflow.db" for each in files)
    assert [each for each in files if secret in each.read_bytes()] == []
    logs = [each for each in cluster.sessions.rglob("*.log") if each.is_file()]
    assert logs
    assert [each for each in logs if secret in each.read_bytes()] == []
