"""A real MLflow store, a tracking server, and a wire to it that can be cut."""

import base64
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path

from mlflow import MlflowClient

HOST = "127.0.0.1"


@cache
def empty_store() -> bytes:
    """A database of MLflow with nothing in it: making one takes seconds, writing it none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mlflow.db")
        MlflowClient(f"sqlite:///{path}").search_experiments()
        with closing(sqlite3.connect(path)) as store:  # a part of it may lie in a write-ahead log
            return store.serialize()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path, port: int | None = None) -> Iterator[int]:
    """A server on a port of its own, or on `port`, with its store in the folder; killed at the end.

    A store that is there already is gone on with.
    """
    port = port or free_port()
    if not (folder / "mlflow.db").exists():
        (folder / "mlflow.db").write_bytes(empty_store())
    command = ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    settings = {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "mlartifacts"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (
        (folder / "server.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | settings,
        ) as server,
    ):
        try:
            _wait(server, f"http://{HOST}:{port}/health")
            yield port
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def _wait(server: "subprocess.Popen[bytes]", address: str) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None:
        with suppress(OSError), direct.open(address, timeout=1):
            return
        time.sleep(0.1)
    raise RuntimeError("the MLflow server has ended")


class Wire:
    """Forwards connections to a server, from a port of its own, and may be cut.

    `lose` says how many answers to requests whose path ends so are lost: each is dropped after the
    server has done what it was asked for, and its connection is cut. With a `password`, given as
    `user:password`, requests without it are answered 401, as by a proxy with basic auth.
    """

    def __init__(self, server_port: int):
        self.port = free_port()
        self.lose: dict[str, int] = {}
        self.password: str | None = None
        self._server_port = server_port
        self._listener: socket.socket | None = None

    @property
    def uri(self) -> str:
        return f"http://{HOST}:{self.port}"

    def join(self) -> None:
        """Lets connections through."""
        self._listener = socket.create_server((HOST, self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Refuses new connections. Those that exist end with their next answer."""
        assert self._listener is not None
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((HOST, self._server_port))
                asked: list[str] = []
                for ends in ((near, far), (far, near)):
                    arguments = (*ends, asked, ends[0] is far)
                    threading.Thread(target=self._forward, args=arguments, daemon=True).start()

    def _forward(
        self, source: socket.socket, sink: socket.socket, asked: list[str], answers: bool
    ) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 20):
                if not answers and b" HTTP/1.1\r\n" in data[:500]:
                    asked.append(data.split(b" ", 2)[1].decode())
                    if not self._is_let_in(data):
                        source.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
                        break
                if answers and (self._listener is None or self._is_lost(asked[-1])):
                    break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _is_let_in(self, request: bytes) -> bool:
        if self.password is None:
            return True
        token = base64.b64encode(self.password.encode())
        return b"\r\nauthorization: basic " + token.lower() in request.lower()

    def _is_lost(self, path: str) -> bool:
        for end, left in self.lose.items():
            if left and path.endswith(end):
                self.lose[end] -= 1
                return True
        return False
