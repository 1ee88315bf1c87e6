"""The MLflow server of a head: its runs are in PostgreSQL, its files in a folder."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from cluster.ray import NotStarted
from cluster.secret import write

START_SECONDS = 180.0
STOP_SECONDS = 10.0
ADMIN = "admin"


class Tracking:
    """A server on `$MLFLOW_HOST` and `$MLFLOW_PORT`, by default on loopback.

    On any other address than 127.0.0.1 it asks for a password, which is generated: that of `admin`
    lies in `~/.mlflow/credentials`, where MLflow's clients look for it.

    Args:
        folder: for its files, its users and its log.
        store: the database of its runs, as SQLAlchemy calls it.
        passfile: libpq's file with the password of that.
    """

    def __init__(self, folder: Path, store: str, passfile: Path) -> None:
        self._folder = folder
        host = ip_address(os.environ.get("MLFLOW_HOST", "127.0.0.1"))
        self._port = int(os.environ.get("MLFLOW_PORT", "5000"))
        self._reached = "127.0.0.1" if host.is_unspecified else str(host)
        self._shared = str(host) != "127.0.0.1"
        self._command = [sys.executable, "-m", "mlflow", "server"]
        self._command += ["--host", str(host), "--port", str(self._port)]
        self._environment = os.environ | {
            "PGPASSFILE": str(passfile),
            "MLFLOW_BACKEND_STORE_URI": store,
            "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "mlartifacts"),
            "MLFLOW_WORKERS": os.environ.get("MLFLOW_WORKERS", "1"),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Where clients on the head find it."""
        return f"http://{self._reached}:{self._port}"

    def start(self) -> None:
        """Starts the server, and waits until it answers.

        Raises:
            NotStarted: it has ended, or takes too long; its log says why.
        """
        self.launch()
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NotStarted(f"MLflow did not start; {self._log} says why")
            time.sleep(0.2)

    def launch(self) -> None:
        """Starts the server, and does not wait."""
        if self._shared:
            self._protect()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ends the server and its workers."""
        if self._process is None:
            return
        for each in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, each)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)

    @property
    def _log(self) -> Path:
        return self._folder / "mlflow.log"

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection((self._reached, self._port), 1):
            return True
        return False

    def _protect(self) -> None:
        """Makes the administrator's password, once; who has none may do nothing."""
        users, settings = self._folder / "mlflow_users.db", self._folder / "mlflow_auth.ini"
        key = self._folder / "mlflow_key"
        credentials = Path.home() / ".mlflow" / "credentials"
        if not settings.exists():
            password = secrets.token_hex(32)
            credentials.parent.mkdir(mode=0o700, exist_ok=True)
            who = f"mlflow_tracking_username = {ADMIN}\nmlflow_tracking_password = {password}\n"
            write(credentials, f"[mlflow]\n{who}")
            write(key, secrets.token_hex(32))
            rules = [
                "default_permission = NO_PERMISSIONS",
                f"database_uri = sqlite:///{users}",
                f"admin_username = {ADMIN}",
                f"admin_password = {password}",
                "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
            ]
            write(settings, "\n".join(["[mlflow]", *rules, ""]))
        self._environment["MLFLOW_AUTH_CONFIG_PATH"] = str(settings)
        self._environment["MLFLOW_FLASK_SERVER_SECRET_KEY"] = key.read_text(encoding="ascii")
        if "--app-name" not in self._command:
            self._command += ["--app-name", "basic-auth"]
