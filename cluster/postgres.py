"""The PostgreSQL server of a head: the trials of the studies, and MLflow's runs."""

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from cluster.secret import write

USER = "sweep"
STUDIES, RUNS = "studies", "mlflow"


class NotInstalled(RuntimeError):
    """PostgreSQL is not installed."""


class Postgres:
    """A server of the head's own, on loopback, with a generated password.

    It listens on `$PGPORT`, by default not on PostgreSQL's usual port, where the machine may have
    another server.

    Args:
        folder: for the data and the password (in the form of libpq's password files). PostgreSQL
            refuses to run as root, so root's data lie in the home of PostgreSQL's own user.
            `$PGDATA` says otherwise.

    Raises:
        NotInstalled: `initdb` is not to be found.
        subprocess.CalledProcessError: from all methods; a program of PostgreSQL's has failed, and
            said why.
    """

    def __init__(self, folder: Path) -> None:
        self._bin = _programs()
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        data = Path("/var/lib/postgresql/sweep") if self._as else folder / "postgres"
        self._data = Path(os.environ.get("PGDATA", data))
        self._port = int(os.environ.get("PGPORT", "5433"))
        self.passfile = folder / "pgpass"

    def url(self, database: str) -> str:
        """What SQLAlchemy calls a database, without the password."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        """Starts the server, anew if it is running; the first time it is made."""
        if not self._data.exists():
            self._make()
        self.stop()
        listen = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -p {self._port}"
        self._serve("pg_ctl", "start", "-o", listen, "-l", f"{self._data}/server.log")
        there = self._ask("psql", "-At", "-c", "SELECT datname FROM pg_database", "postgres")
        for each in {STUDIES, RUNS} - set(there.split()):
            self._ask("createdb", each)

    def stop(self) -> None:
        """Ends the server and its connections, if it is running."""
        if self.running():
            self._serve("pg_ctl", "stop", "-m", "fast")

    def running(self) -> bool:
        """Whether the server's process is there."""
        command = [*self._as, str(self._bin / "pg_ctl"), "status", "-D", str(self._data)]
        found = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, cwd="/")
        return found.returncode == 0

    def _make(self) -> None:
        """Makes the data of a new server, whole or not at all."""
        password = secrets.token_hex(32)
        draft = self._data.with_name(f"{self._data.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        told = write(draft.with_name(f"{draft.name}.password"), password)
        if self._as:
            for each in (draft, told):
                shutil.chown(each, "postgres")
        options = ["-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--no-locale"]
        self._serve("initdb", *options, f"--pwfile={told}", data=draft)
        told.unlink()
        write(self.passfile, f"127.0.0.1:*:*:{USER}:{password}\n")
        draft.rename(self._data)

    def _serve(self, program: str, *options: str, data: Path | None = None) -> None:
        """Runs a program of the server's, as the user that owns its data."""
        command = [*self._as, str(self._bin / program), "-D", str(data or self._data), *options]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, cwd="/")

    def _ask(self, program: str, *options: str) -> str:
        """Runs a client's program; what it printed."""
        address = ["-h", "127.0.0.1", "-p", str(self._port), "-U", USER]
        environment = os.environ | {"PGPASSFILE": str(self.passfile)}
        command = [str(self._bin / program), "-w", *address, *options]
        return subprocess.check_output(command, text=True, env=environment)


def _programs() -> Path:
    """The folder of PostgreSQL's programs; Debian keeps the server's off the path."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    found = max(debian, key=lambda each: int(each.parts[-3]), default=shutil.which("initdb"))
    if found is None:
        raise NotInstalled("PostgreSQL is not installed: there is no initdb")
    return Path(found).parent
