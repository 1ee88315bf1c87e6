"""The MLflow UI on a workspace: a tracking server on this machine alone, until Ctrl-C."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from sweep.recording.outbox import Outbox
from sweep.workspace import Workspace

HOST = "127.0.0.1"
START_SECONDS = 120.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.2


class UiError(RuntimeError):
    """The UI can't be shown; the message says why and what to do."""


def serve(place: Workspace, name: str | None, port: int, say: Callable[[str], None]) -> None:
    """Shows the MLflow UI until Ctrl-C.

    With a tracking server (`MLFLOW_TRACKING_URI`) there is nothing to start: it only says where.

    Args:
        place: the workspace whose runs are shown.
        name: the study on whose page the UI opens; None opens the list of experiments.
        port: the port of the server.
        say: is told the address.

    Raises:
        UnknownStudy: the workspace has no such study.
        UiError: the port is taken, nothing has been recorded, the workspace can't be written, or
            the server does not start.
    """
    page = "/" if name is None else _page(place, name)
    uri = place.tracking_uri
    if uri.startswith(("http://", "https://")):
        say(f"MLflow UI: {uri.rstrip('/')}{page}")
        return
    _check_port(port)
    _check_store(uri)
    address = f"http://{HOST}:{port}"
    with _server(uri, place, port) as server:
        say("MLflow UI: starting ...")
        _wait_until_it_answers(server, address, place.path / "ui.log")
        say(f"MLflow UI: {address}{page} (Ctrl-C ends it)")
        if _has_screen():
            webbrowser.open(address + page)
        with suppress(KeyboardInterrupt):
            server.wait()
            raise UiError(f"the MLflow server has ended, see {place.path / 'ui.log'}")


def _page(place: Workspace, name: str) -> str:
    with closing(Outbox(place.existing(name).outbox, reading=True)) as outbox:
        experiment = outbox.fact("experiment_id")
    return "/" if experiment is None else f"/#/experiments/{experiment}/runs"


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise UiError(f"port {port} is not free ({error}); choose one with --port") from None


def _check_store(uri: str) -> None:
    database = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not database.exists():
        raise UiError(f"nothing has been recorded yet: there is no {database}")
    from sweep.recording.tracking import TrackingError, check_schema

    try:
        check_schema(uri)
    except TrackingError as error:
        raise UiError(str(error)) from None


@contextmanager
def _server(uri: str, place: Workspace, port: int) -> "Iterator[subprocess.Popen[bytes]]":
    """A server in a process group of its own, all of which is ended with the block.

    One worker and no job runner: it starts in 6 s instead of 15, without seven more processes.
    """
    command = ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    settings = {
        "MLFLOW_BACKEND_STORE_URI": uri,  # not an argument: it may hold a password
        "MLFLOW_ARTIFACTS_DESTINATION": place.artifact_root or str(place.path / "mlartifacts"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with _log(place) as log, _terminated_as_interrupted():
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | settings,
        )
        try:
            yield server
        finally:
            _end(server)


def _log(place: Workspace) -> BinaryIO:
    try:
        return (place.path / "ui.log").open("wb")
    except OSError as error:
        rule = f"cannot be written: {error.strerror}"
        raise UiError(f"workspace {place.path}: {rule}") from None


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """A terminal that is closed, or a plain `kill`, ends the server too."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # a shell starts background jobs with SIGINT ignored: a Ctrl-C that reaches us shall end us
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(server: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)


def _wait_until_it_answers(server: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UiError(f"the MLflow server has ended, see {log}")
        with suppress(OSError), direct.open(f"{address}/health", timeout=POLL_SECONDS):
            return
        time.sleep(POLL_SECONDS)
    raise UiError(f"the MLflow server does not answer, see {log}")


def _has_screen() -> bool:
    """A browser in the terminal would take the terminal."""
    return sys.platform == "darwin" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
