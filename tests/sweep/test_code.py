"""Code that a study names is imported where the command line allows it, and only there."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sweep.__main__ import cli
from sweep.spec.study import check
from sweep.workspace import workspace

SMOKE = Path(__file__).parents[2] / "studies" / "smoke.yaml"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which Python looks for modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("SWEEP_WORKSPACE", raising=False)
    return tmp_path


def run(source: str, *options: str) -> Result:
    return CliRunner().invoke(cli, ["run", str(SMOKE), f"--set=data.source={source}", *options])


def test_it_is_not_imported_unless_allowed(folder: Path) -> None:
    (folder / "thorns.py").write_text("import pathlib\npathlib.Path('imported').touch()\n")
    shown = run("thorns:rows", "--allow-code=roses", "--allow-code=thorns.rows")
    assert shown.exit_code == 2
    assert shown.stderr.startswith("data.source: data source 'thorns:rows': must be one of")
    assert "run with --allow-code thorns" in shown.stderr
    assert [path.name for path in folder.iterdir()] == ["thorns.py"]


def test_its_mistake_is_told_in_a_line_and_nothing_is_written(folder: Path) -> None:
    (folder / "weeds.py").write_text("def rows():\n    return 1 / 0\n")
    shown = run("weeds:rows", "--allow-code=roses", "--allow-code=weeds")
    assert shown.exit_code == 2
    reason = "failed with ZeroDivisionError: division by zero"
    assert shown.stderr == f"data.source: weeds:rows: {reason}\n"
    assert not (folder / "results").exists()


@pytest.mark.parametrize("command", [("resume", "stored"), ("reproduce", "stored", "0")])
def test_a_stored_study_is_no_leave_to_import(folder: Path, command: tuple[str, ...]) -> None:
    (folder / "moss.py").write_text("def rows():\n    return 1 / 0\n")
    place = workspace(None)
    study = place.study("stored")
    place.prepare(study)
    study.create(check({"name": "stored", "data": {"source": "moss:rows"}}).text)
    shown = CliRunner().invoke(cli, command)
    assert shown.exit_code == 2
    assert "run with --allow-code moss" in shown.stderr
    shown = CliRunner().invoke(cli, [*command, "--allow-code=moss"])
    assert shown.exit_code == 2
    assert "moss:rows: failed with ZeroDivisionError" in shown.stderr
