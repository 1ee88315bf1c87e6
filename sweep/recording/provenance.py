"""Where a sweep ran and with what: the tags by which a result can be traced.

Tags named `mlflow.…` are those that the MLflow UI has columns for.
"""

import getpass
import os
import platform
import socket
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("sweep", "numpy", "ray", "optuna", "mlflow")
GIT_SECONDS = 5


def provenance() -> dict[str, str]:
    """User, host, versions and the commit of this project, as tags of a run."""
    commit = _commit(Path(__file__).resolve().parents[2])
    return (
        run_tags()
        | {
            "sweep.platform": platform.platform(),
            "sweep.cpus": str(os.cpu_count()),
            "sweep.python": platform.python_version(),
        }
        | {f"sweep.version.{name}": _version(name) for name in PACKAGES}
        | commit
    )


def run_tags() -> dict[str, str]:
    """What stands on every run of a trial: user and host."""
    return {
        "mlflow.user": _user(),
        "mlflow.source.name": "sweep",
        "mlflow.source.type": "LOCAL",
        "sweep.host": socket.gethostname(),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under an id that has no name
        return str(os.getuid())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit(project: Path) -> dict[str, str]:
    """The commit of a checkout and whether its files have changed; nothing where there is none."""
    if not (project / ".git").exists():
        return {}
    try:
        commit = _git(project, "rev-parse", "HEAD")
        changed = _git(project, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"mlflow.source.git.commit": commit, "sweep.changed_since_commit": str(bool(changed))}


def _git(project: Path, *command: str) -> str:
    answer = subprocess.run(
        ["git", "-C", str(project), *command],
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_SECONDS,
    )
    return answer.stdout.strip()
