"""A run says where it ran and from which commit."""

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from sweep.recording import provenance as module
from sweep.recording.provenance import provenance


def test_host_and_versions() -> None:
    tags = provenance()
    assert tags["sweep.version.numpy"] == version("numpy")
    assert all(tags[f"sweep.{name}"] for name in ("host", "platform", "cpus", "python"))
    assert tags["mlflow.user"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a git checkout of its own."""
    monkeypatch.setattr(module, "__file__", str(tmp_path / "sweep" / "recording" / "provenance.py"))
    (tmp_path / "file").write_text("one")
    for command in (
        ["init", "--quiet"],
        ["add", "file"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "first"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_the_commit_and_whether_files_have_changed(checkout: Path) -> None:
    head = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert provenance()["mlflow.source.git.commit"] == head.stdout.strip()
    assert provenance()["sweep.changed_since_commit"] == "False"
    (checkout / "file").write_text("two")
    assert provenance()["sweep.changed_since_commit"] == "True"


def test_without_a_checkout_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "sweep" / "recording" / "provenance.py"))
    assert "mlflow.source.git.commit" not in provenance()


def test_a_checkout_without_a_commit(checkout: Path) -> None:
    subprocess.run(["git", "-C", str(checkout), "update-ref", "-d", "HEAD"], check=True)
    assert "mlflow.source.git.commit" not in provenance()
