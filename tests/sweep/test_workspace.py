import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sweep.workspace import StudyInUse, UnknownStudy, Workspace, database, workspace
from trainer.rules import ConfigError

HOLDER = """
import sys, time
from pathlib import Path
from sweep.workspace import Workspace
with Workspace(Path(sys.argv[1])).study("mine").held():
    print("held", flush=True)
    sys.stdin.read()
print("let go", flush=True)
"""


@contextmanager
def held_by_another(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the study `mine` until it is killed or its input is closed."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "held\n"
            yield child
        finally:
            child.kill()


def test_the_folder_that_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEP_WORKSPACE", raising=False)
    assert workspace(None).path == tmp_path / "results"
    monkeypatch.setenv("SWEEP_WORKSPACE", "from-environment")
    assert workspace(None).path == tmp_path / "from-environment"
    assert workspace("given").path == tmp_path / "given"
    assert workspace(str(tmp_path / "absolute")).path == tmp_path / "absolute"


def test_looking_at_a_workspace_makes_nothing(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "new")
    assert place.studies() == []
    with pytest.raises(UnknownStudy):
        place.existing("a")
    assert not place.study("a").in_use()
    assert list(tmp_path.iterdir()) == []


def test_where_runs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Workspace(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert place.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert place.artifact_root == f"file://{tmp_path}/mlartifacts"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
    assert place.tracking_uri == "http://elsewhere:5000"
    assert place.artifact_root is None


def test_studies_are_listed_by_name(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    for name in ("b", "a.1", "c"):
        place.study(name).create(f"name: {name}\n")
    (tmp_path / "mlartifacts").mkdir()
    (tmp_path / "mlflow.db").touch()
    assert [folder.name for folder in place.studies()] == ["a.1", "b", "c"]
    assert place.existing("b").file.read_text() == "name: b\n"


@pytest.mark.parametrize("name", ["d", "", ".", "..", "../workspace/a", "a/", "a/../a", "/", "A"])
def test_an_unknown_study_is_told_with_those_there_are(tmp_path: Path, name: str) -> None:
    (tmp_path / "study.yaml").touch()  # no study of this workspace
    place = Workspace(tmp_path / "workspace")
    place.study("a").create("name: a\n")
    place.study("b").create("name: b\n")
    with pytest.raises(UnknownStudy, match=re.escape(f"no study {name!r} in {place.path}; ")):
        place.existing(name)
    with pytest.raises(UnknownStudy, match=r"there: a, b$"):
        place.existing(name)


def test_a_study_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = Workspace(tmp_path).study("a")
    folder.create("name: a\nquestion: what?\n")
    assert folder.file.read_text(encoding="utf-8") == "name: a\nquestion: what?\n"
    assert {each.name for each in folder.path.iterdir()} == {"study.yaml", "weights"}


def test_a_new_workspace_can_be_written(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "some" / "where")
    place.prepare(place.study("s"))
    place.prepare(place.study("s"))
    assert list(place.path.iterdir()) == []


def test_a_workspace_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"workspace .*file: cannot be written: File exists"):
        Workspace(tmp_path / "file").prepare(Workspace(tmp_path / "file").study("s"))
    with pytest.raises(ConfigError, match=r"file/below: cannot be written: Not a directory"):
        Workspace(tmp_path / "file" / "below").prepare(
            Workspace(tmp_path / "file" / "below").study("s")
        )


def test_a_workspace_that_an_address_would_cut(tmp_path: Path) -> None:
    """MLflow's database would be `exp`, beside the workspace and shared with `exp?2`."""
    place = Workspace(tmp_path / "exp?1")
    with pytest.raises(ConfigError, match=r"must be a path without `\?`"):
        place.prepare(place.study("a"))
    assert not place.path.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_workspace_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be written: Permission denied"):
        Workspace(tmp_path).prepare(Workspace(tmp_path).study("s"))
    tmp_path.chmod(0o700)


# One driver at a time


def test_a_study_is_held_by_one_driver(tmp_path: Path) -> None:
    folder = Workspace(tmp_path).study("mine")
    with held_by_another(tmp_path) as child:
        assert folder.in_use()
        with (
            pytest.raises(
                StudyInUse,
                match=rf"^study 'mine' is in use by the driver with pid {child.pid} on .* since ",
            ),
            folder.held(),
        ):
            pytest.fail("two drivers")
        with Workspace(tmp_path).study("other").held():
            pass
    assert not folder.in_use()
    with folder.held():
        assert folder.in_use()


def test_a_study_whose_folder_cannot_be_written(tmp_path: Path) -> None:
    folder = Workspace(tmp_path).study("s")
    (folder.path / "driver.lock").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"/s: cannot be written: Is a directory"), folder.held():
        pytest.fail("nobody holds it")


def test_a_study_is_free_when_its_driver_lets_go(tmp_path: Path) -> None:
    with held_by_another(tmp_path) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.close()
        assert child.stdout.read() == "let go\n"
        with Workspace(tmp_path).study("mine").held():
            pass


def test_a_study_is_free_when_its_driver_is_killed(tmp_path: Path) -> None:
    with held_by_another(tmp_path) as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
    folder = Workspace(tmp_path).study("mine")
    assert not folder.in_use()
    with folder.held():
        assert folder.in_use()


def test_a_study_is_free_after_an_error(tmp_path: Path) -> None:
    folder = Workspace(tmp_path).study("mine")
    with pytest.raises(ZeroDivisionError), folder.held():
        raise ZeroDivisionError
    with folder.held():
        pass


def test_an_earlier_holder_is_not_blamed(tmp_path: Path) -> None:
    """The file says who holds the study now, however long the name of the last holder's host."""
    folder = Workspace(tmp_path).study("mine")
    folder.path.mkdir()
    (folder.path / "driver.lock").write_text("x" * 1000)
    with held_by_another(tmp_path) as child:
        found = (folder.path / "driver.lock").read_text()
        assert f'"pid": {child.pid}' in found
        assert "x" not in found


def test_an_address_of_a_database_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_STORAGE", "postgresql://sweep@localhost/studies")
    assert database() == "postgresql://sweep@localhost/studies"
    monkeypatch.setenv("SWEEP_STORAGE", "postgresql://sweep:secret@localhost/studies")
    with pytest.raises(ConfigError, match="must hold no password") as raised:
        database()
    assert "secret" not in str(raised.value)


def test_a_study_stays_where_its_trials_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWEEP_STORAGE", raising=False)
    old, new = Workspace(tmp_path).study("old"), Workspace(tmp_path).study("new")
    old.create("name: old\n")
    monkeypatch.setenv("SWEEP_STORAGE", "postgresql://sweep@localhost/studies")
    old.create("name: old\n")
    new.create("name: new\n")
    monkeypatch.delenv("SWEEP_STORAGE")
    assert old.storage == old.trials
    assert new.storage == "postgresql://sweep@localhost/studies"
