"""A cluster of three hosts, brought up with `ray up`; one dies and one is cut off during a sweep."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.integration.conftest import ROOT, SMOKE, eventually
from tests.integration.hosts import HOME, Host, hosts, missing
from tests.integration.postgres import binaries

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
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


class Laptop:
    """Commands as a user types them there, in the folder of the repository."""

    def __init__(self, host: Host) -> None:
        self.host = host
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
        command = self.host.command(
            *arguments, RAY_AUTH_MODE="token", RAY_USAGE_STATS_ENABLED="0", PYTHONPATH=str(ROOT)
        )
        return subprocess.Popen(command, text=True, cwd=ROOT, **options)

    def __call__(self, *arguments: str, timeout: int = 300) -> str:
        """Runs a command to its end, and returns what it printed."""
        with self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            output, _ = process.communicate(timeout=timeout)
        assert process.returncode == 0, output
        return output
