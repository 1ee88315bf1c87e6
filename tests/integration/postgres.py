"""A PostgreSQL server of one's own, on loopback, with a generated password."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.ray_head import free_ports


def binaries() -> Path | None:
    """Where `initdb` and `pg_ctl` are."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb")
    return debian[-1].parent if debian else Path(found).parent if found else None


class Postgres:
    """A server that can be stopped and started. Its password is in a file for libpq alone."""

    def __init__(self, folder: Path, bin_: Path, port: int) -> None:
        self._folder = folder
        self._bin = bin_
        self.port = port
        self.password = secrets.token_hex(16)
        self.passfile = folder.with_name(f"{folder.name}-client") / "pgpass"
        self.passfile.parent.mkdir(mode=0o700)
        self.passfile.touch(mode=0o600)
        self.passfile.write_text(f"127.0.0.1:{port}:*:postgres:{self.password}\n", "ascii")

    def url(self, database: str) -> str:
        """What SQLAlchemy calls a database, without the password."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def make(self, *databases: str) -> None:
        """Makes the server's folder, starts it, and makes databases."""
        secret = self._folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.password, "ascii")
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres")
            shutil.chown(secret, "postgres")
        data = str(self._folder / "data")
        arguments = ["-D", data, "-A", "scram-sha-256", "-U", "postgres"]
        self._run("initdb", *arguments, f"--pwfile={secret}", "--no-sync")
        self.start()
        for each in databases:
            self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", each)

    def start(self) -> None:
        """Starts the server on loopback."""
        listen = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -p {self.port}"
        self._control("start", "-o", listen, "-l", str(self._folder / "log"))

    def stop(self) -> None:
        """Ends the server at once, as a crash does."""
        self._control("stop", "-m", "immediate")

    def _control(self, action: str, *options: str) -> None:
        self._run("pg_ctl", "-w", "-D", str(self._folder / "data"), action, *options)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        environment = {**os.environ, "PGPASSFILE": str(self.passfile)}
        if os.geteuid() == 0 and program != "createdb":
            command = [
                "setpriv",
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                *command,
            ]
        subprocess.run(
            command,
            check=True,
            stdout=subprocess.DEVNULL,
            env=environment,
            cwd=self._folder,
            timeout=60,
        )


@contextmanager
def postgres(*databases: str) -> Iterator[Postgres]:
    """A running server with these databases; skips the test where PostgreSQL is not installed."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    bin_ = binaries()
    if bin_ is None:
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "server").mkdir(mode=0o700)
        server = Postgres(Path(folder) / "server", bin_, free_ports(1)[0])
        server.make(*databases)
        try:
            yield server
        finally:
            server.stop()
