"""The head of a cluster: PostgreSQL, the MLflow server and Ray, which live and end together.

    python -m cluster.head [OPTIONS OF ray start --head]

comes back when all of them answer, and leaves a process behind that looks after them: PostgreSQL
and MLflow are started again if they end, and end when Ray is stopped (`ray stop`, `ray down`). What
they keep, and what was said, lies in `~/.sweep`.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from cluster.postgres import RUNS, STUDIES, NotInstalled, Postgres
from cluster.tracking import NotStarted, Tracking

START_SECONDS = 300.0
LOOK_SECONDS = 1.0
STARTED = "Ray runtime started"

RAY = {
    "RAY_AUTH_MODE": "token",
    # A machine whose network was cut is given up after about 25 s, and so are the links on it (by
    # default after a minute, and after seven).
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
}


def start(options: Sequence[str]) -> int:
    """Starts a process that serves, and waits until everything answers; the exit code."""
    folder = _folder()
    log = folder / "head.log"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "cluster.head", "--serve", *options]
    with log.open("wb") as said:
        serving = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
            cwd=Path(__file__).parents[1],
        )
    deadline = time.monotonic() + START_SECONDS
    while STARTED not in log.read_text(encoding="utf-8", errors="replace"):
        if serving.poll() is not None or time.monotonic() > deadline:
            serving.terminate()
            print(log.read_text(encoding="utf-8", errors="replace"), file=sys.stderr)
            return 1
        time.sleep(0.2)
    return 0


def serve(options: Sequence[str]) -> None:
    """Runs everything until Ray has been stopped, or this process is.

    Raises:
        NotInstalled: PostgreSQL is not.
        NotStarted: MLflow or Ray could not be started.
        subprocess.CalledProcessError: PostgreSQL could not be.
    """
    signal.signal(signal.SIGTERM, _leave)
    folder = _folder()
    with (folder / "lock").open("w") as lock, ExitStack() as stack:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the last head may still be ending
        postgres = Postgres(folder)
        tracking = Tracking(folder, postgres.url(RUNS), postgres.passfile)
        stack.callback(postgres.stop)
        postgres.start()
        stack.callback(tracking.stop)
        tracking.start()
        ray = _start_ray(
            options,
            {
                "SWEEP_STORAGE": postgres.url(STUDIES),
                "PGPASSFILE": str(postgres.passfile),
                "MLFLOW_TRACKING_URI": tracking.uri,
            },
        )
        stack.callback(_end, ray)
        while not _runs(ray):
            if ray.poll() is not None:
                raise NotStarted("Ray did not start")
            time.sleep(LOOK_SECONDS)
        while _runs(ray):
            time.sleep(LOOK_SECONDS)
            if not postgres.running():
                postgres.start()
            if not tracking.running():
                tracking.launch()


def _folder() -> Path:
    folder = Path.home() / ".sweep"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _start_ray(options: Sequence[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Starts Ray; every job on it gets its environment, in which no secret stands."""
    programs = Path(sys.executable).parent
    path = f"{programs}:{os.environ.get('PATH', os.defpath)}"
    command = [str(programs / "ray"), "start", "--head", "--block", *options]
    return subprocess.Popen(command, env=os.environ | RAY | environment | {"PATH": path})


def _runs(ray: "subprocess.Popen[bytes]") -> bool:
    """Whether Ray is there: `ray stop` ends its processes, but not the one that waits for them."""
    store = ["pgrep", "-x", "-P", str(ray.pid), "gcs_server"]
    return subprocess.run(store, check=False, stdout=subprocess.DEVNULL).returncode == 0


def _end(ray: "subprocess.Popen[bytes]") -> None:
    """Ends what is left of Ray: all of it, or the one process that `ray stop` leaves."""
    if _runs(ray):
        ray.terminate()
    else:
        ray.kill()
    ray.wait()


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    if arguments[:1] != ["--serve"]:
        return start(arguments)
    try:
        serve(arguments[1:])
    except (NotInstalled, NotStarted, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
