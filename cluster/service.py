"""A command that comes back when its services answer, and leaves a process that looks after them.

What the process says is in `~/.sweep`. There is one at a time: a new one waits for the end of the
last.
"""

import fcntl
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from cluster.postgres import NotInstalled
from cluster.ray import STARTED, NotStarted

START_SECONDS = 300.0
SERVE = "--serve"


def run(module: str, serve: Callable[[Sequence[str], Path], None]) -> int:
    """The command line of a module that serves; the exit code.

    Args:
        serve: does the work until it has ended or is told to (SIGTERM); gets the options of the
            command line, and the folder for what it keeps.
    """
    folder = Path.home() / ".sweep"
    folder.mkdir(mode=0o700, exist_ok=True)
    options = sys.argv[1:]
    if options[:1] != [SERVE]:
        return _launch(module, options, folder / f"{module.rpartition('.')[2]}.log")
    signal.signal(signal.SIGTERM, _leave)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            serve(options[1:], folder)
        except (NotInstalled, NotStarted, subprocess.CalledProcessError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def _launch(module: str, options: Sequence[str], log: Path) -> int:
    """Starts the process that serves, and waits until Ray, which comes last, has started."""
    log.unlink(missing_ok=True)
    with log.open("wb") as said:
        serving = subprocess.Popen(
            [sys.executable, "-m", module, SERVE, *options],
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


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)
