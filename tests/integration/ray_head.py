"""A Ray head with the Jobs API, for tests: on loopback, behind a token of its own."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

STARTED = b"Ray runtime started"


class Head(NamedTuple):
    """A head: its Jobs API, where Ray joins, its token's file, its home, its logs."""

    url: str
    address: str
    token: Path
    home: Path
    sessions: Path

    def environment(self, token: Path | None) -> dict[str, str]:
        """What a process needs that may, or may not, talk to this head."""
        plain = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        for name in ("MLFLOW_TRACKING_URI", "SWEEP_WORKSPACE"):
            plain.pop(name, None)
        plain |= {"RAY_USAGE_STATS_ENABLED": "0"}
        auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        return plain | (auth if token else {"RAY_AUTH_MODE": "disabled"})


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def head(
    folder: Path,
    *options: str,
    port: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Head]:
    """Starts a head with two cores; ends it, by its processes' ids.

    Args:
        options: more of `ray start`'s; of two that are the same it takes the later one.
        port: of its store, if it must be known before.
        environment: variables that the head gets besides.
    """
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32), encoding="ascii")
    sockets = Path(tempfile.mkdtemp(prefix="ray"))  # they need a short path
    free, jobs, *rest = free_ports(7)
    port = port or free
    made = Head(f"http://127.0.0.1:{jobs}", f"127.0.0.1:{port}", token, folder, sockets)
    bin_ = Path(sys.executable).parent
    names = ("node-manager", "object-manager", "dashboard-agent-listen", "dashboard-agent-grpc")
    command = [str(bin_ / "ray"), "start", "--head", "--block", "--num-cpus=2"]
    command += ["--node-ip-address=127.0.0.1", "--include-dashboard=true"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={jobs}", f"--port={port}"]
    command += [f"--{name}-port={rest.pop()}" for name in names]
    command += [f"--metrics-export-port={rest.pop()}", f"--temp-dir={sockets}"]
    variables = made.environment(token) | {"HOME": str(folder)} | dict(environment or {})
    variables["PATH"] = f"{bin_}:{variables['PATH']}"
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *options],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=variables,
            cwd=folder,
        )
    try:
        deadline = time.monotonic() + 60
        while STARTED not in (folder / "head.log").read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"Ray did not start: {(folder / 'head.log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield made
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it ended with one before it
                child.kill()
        process.kill()
        process.wait(30)
        shutil.rmtree(sockets, ignore_errors=True)
