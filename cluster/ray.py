"""Ray on a machine of the cluster."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

LOOK_SECONDS = 1.0
STARTED = "Ray runtime started"
PROGRAM = Path(sys.executable).with_name("ray")

ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    # A machine whose network was cut is given up after about 25 s, and so are the links on it (by
    # default after a minute, and after seven).
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
}


class NotStarted(RuntimeError):
    """A program of the cluster's has ended, or does not answer."""


class Ray:
    """`ray start --block`, and the process of its that the machine can't do without.

    Args:
        heart: the name of that process. `ray stop` ends it, but not the one that waits for it.
        options: of `ray start`.
        environment: what every job and worker gets besides; no secret.

    Raises:
        NotStarted: it ended at once.
    """

    def __init__(self, heart: str, options: Sequence[str], environment: Mapping[str, str]) -> None:
        path = f"{PROGRAM.parent}:{os.environ.get('PATH', os.defpath)}"
        self._heart = heart
        self._process = subprocess.Popen(
            [PROGRAM, "start", "--block", *options],
            env={**os.environ, **ENVIRONMENT, **environment, "PATH": path},
        )
        while not self.runs():
            if self._process.poll() is not None:
                raise NotStarted("Ray did not start")
            time.sleep(LOOK_SECONDS)

    def runs(self) -> bool:
        """Whether it is there."""
        found = ["pgrep", "-x", "-P", str(self._process.pid), self._heart]
        return subprocess.run(found, check=False, stdout=subprocess.DEVNULL).returncode == 0

    def stop(self) -> None:
        """Ends all of it, or the process that `ray stop` leaves."""
        if self.runs():
            self._process.terminate()
        else:
            self._process.kill()
        self._process.wait()
