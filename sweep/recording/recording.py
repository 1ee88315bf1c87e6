"""The driver's hold on the recorder process: start it, look after it, wait for it, end it.

Nothing here waits for MLflow, except `drain`, which is for the end.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sweep.recording import recorder
from sweep.recording.outbox import Backlog, Outbox
from sweep.recording.projection import cut

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 10.0
"""How long the end of a sweep waits for a recorder that yields to what is not as nice."""
LOOK_SECONDS = 2.0
"""How long what was found about the backlog is good for."""
KEEPS_UP = 500
"""As many records may wait without a word: a fast sweep has some on the way at any time."""
LONGEST_TROUBLE = 100
RESTARTS = 5
"""How often a recorder that was killed is started again."""


class Recording:
    """A recorder process at work on the outbox of a study.

    It runs in a session of its own, so that a Ctrl-C at the terminal does not reach it, with one
    thread and as nice as Ray's workers; what it says goes to `recorder.log` in the study's folder.

    Args:
        outbox: the driver's own outbox of the study; it is only read.
        study_dir: the folder of the study, whose name is the name of the study.
        tracking_uri: the MLflow store, with absolute paths.
        artifact_root: the URI of the folder for artifacts; None leaves it to a tracking server.
    """

    def __init__(
        self, outbox: Outbox, study_dir: Path, tracking_uri: str, artifact_root: str | None
    ):
        self._outbox = outbox
        self._log = study_dir / "recorder.log"
        self._tracking_uri = tracking_uri
        self._command = [sys.executable, "-m", "sweep.recording.recorder", str(study_dir)]
        if artifact_root is not None:
            self._command.append(artifact_root)
        self._restarts = 0
        self._hurries = False
        self._looked = -LOOK_SECONDS
        self._behind = ""
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ
                | dict.fromkeys(threads, "1")
                | {"MLFLOW_TRACKING_URI": self._tracking_uri}  # not an argument: it may be secret
                | {recorder.HURRIES: str(int(self._hurries))}
                | {"MLFLOW_DISABLE_TELEMETRY": "true", "MPLBACKEND": "agg"},
            )

    @property
    def trouble(self) -> str | None:
        """Why nothing is sent at present, in words; None when all is well."""
        status = self._process.poll()
        if status is None or self._outbox.backlog().empty:
            return self._outbox.fact("trouble")
        return self._outbox.fact("trouble") or f"the recorder has ended, see {self._log}"

    def backlog(self) -> Backlog:
        """How much has not reached MLflow."""
        return self._outbox.backlog()

    def behind(self) -> str:
        """How far MLflow is behind, in words; nothing while it keeps up. Cheap, as `look_after`."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            records, trouble = self.backlog().records, self.trouble
            self._behind = ""
            if trouble or records > KEEPS_UP:
                why = f": {cut(trouble.splitlines()[0], LONGEST_TROUBLE)}" if trouble else ""
                self._behind = f"MLflow is {records} records behind{why}"
        return self._behind

    def look_after(self) -> None:
        """Starts the recorder again if it was killed. Cheap: to be called now and then."""
        status = self._process.poll()
        if status is not None and status < 0 and self._restarts < RESTARTS:
            self._restarts += 1
            self._close_pipe()
            self._process = self._start()

    def drain(self, timeout: float, on_progress: Callable[[Backlog], None]) -> Backlog:
        """Waits until everything is sent and the recorder has ended; what is left in the outbox.

        Nothing more may be added. It takes `timeout` seconds at most, and less when the recorder
        gives up: then `trouble` says why, and what is left waits for another recorder.
        """
        began = time.monotonic()
        while time.monotonic() < began + timeout:
            self.look_after()
            if not self._hurries and time.monotonic() > began + PATIENCE_SECONDS:
                self._hurry()
            self._close_pipe()
            on_progress(self.backlog())
            try:
                self._process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            if self._process.returncode >= 0 or self._restarts == RESTARTS:
                break
        return self.backlog()

    def _hurry(self) -> None:
        """Has another recorder go on that takes its share of the processor: someone waits for it.

        One that yields gets next to nothing where others have work to do: on a
        machine with a load of 10 for each core three pictures took five minutes.
        """
        self._hurries = True
        self.stop()
        self._process = self._start()

    def stop(self) -> None:
        """Ends the recorder at once. What it has not sent stays in the outbox."""
        self._process.kill()
        self._process.wait()
        self._close_pipe()

    def _close_pipe(self) -> None:
        """Tells the recorder that no more will come."""
        assert self._process.stdin is not None
        self._process.stdin.close()
