"""The command line: help, exit codes, and what a mistake looks like. Nothing here needs Ray."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from sweep.__main__ import cli
from sweep.recording.outbox import Outbox

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "studies" / "digits.yaml"
COMMANDS = {name: command for name, command in cli.commands.items() if not command.hidden}

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls a command in an empty folder, with an empty workspace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEP_WORKSPACE", str(tmp_path / "results"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return lambda *arguments: CliRunner().invoke(cli, [str(each) for each in arguments])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_and_stands_in_the_readme(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"])
    assert shown.exit_code == 0
    assert f"python -m sweep {name}" in shown.output
    assert f"python -m sweep {name}" in (ROOT / "README.md").read_text(encoding="utf-8")
    for option in COMMANDS[name].params:
        if isinstance(option, click.Option) and option.name not in ("help", "target"):
            assert option.help, option.name


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from sweep.__main__ import cli\n"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0\n"
        "print(sorted({'ray', 'optuna', 'mlflow', 'numpy', 'rich', 'yaml'} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert json.loads(shown.stdout.replace("'", '"')) == []


def test_check_prints_the_search_space(call: Call) -> None:
    shown = call("check", DIGITS, "--json")
    assert shown.exit_code == 0
    space = json.loads(shown.stdout)["parameters"]
    assert space["model.activation"] == "sigmoid | tanh | relu | leaky_relu | elu | maxout"
    assert space["model.activation.leaky_relu.alpha"] == "log float 0.001 … 0.3"
    assert call("check", DIGITS).exit_code == 0


def test_check_estimates_the_record(call: Call) -> None:
    sizes = json.loads(call("check", DIGITS, "--json").stdout)["record"]
    assert sizes.pop("total") == sum(sizes.values())
    assert (
        "its record in MLflow and in the workspace will take about" in call("check", DIGITS).stdout
    )
    absent = ("--set", "data.source=npz:absent.npz")
    assert json.loads(call("check", DIGITS, *absent, "--json").stdout)["record"] is None
    assert "can't be estimated: data.source: " in call("check", DIGITS, *absent).stdout


def test_check_refuses_data_that_do_not_go_with_the_study(call: Call) -> None:
    for wrong, problem in (
        ("data.source=diabetes", "data.source: diabetes: has numbers to predict"),
        ("data.classes=[0, twelve]", "data.classes: must be among the classes of the data"),
    ):
        refused = call("check", DIGITS, "--set", wrong)
        assert refused.exit_code == 2
        assert problem in refused.stderr
        assert refused.stdout == ""


@pytest.mark.parametrize(
    "file", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda file: file.stem
)
def test_the_studies_in_the_box_are_right(call: Call, file: Path) -> None:
    assert call("check", file).exit_code == 0


def test_studies_lists_question_cost_and_needs(call: Call) -> None:
    listed = {each["name"]: each for each in json.loads(call("studies", "--json").stdout)}
    assert set(listed) == {file.stem for file in (ROOT / "studies").glob("*.yaml")}
    digits = listed["digits"]
    assert digits["question"].startswith("Which activation")
    assert (digits["trials"], digits["replicates"], digits["epochs"]) == (60, 3, 27)
    assert (digits["cost"], digits["needs"], digits["problem"]) == (60 * 3 * 27, [], None)
    assert listed["fashion_mnist"]["needs"] == ["data.source (idx:fashion-mnist)"]
    shown = call("studies").stdout
    assert "60 trials × 3 replicates × 27 epochs = 4,860 epochs; needs nothing" in shown
    assert all(each["question"] in shown for each in listed.values())


def test_an_empty_workspace_has_no_studies(call: Call) -> None:
    assert json.loads(call("list", "--json").stdout) == []
    assert call("list").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "nothing"),
        ("advise", "nothing"),
        ("best", "nothing"),
        ("resume", "nothing"),
        ("ui", "nothing"),
        ("show", "../elsewhere"),
    ],
)
def test_an_unknown_study_is_said(call: Call, arguments: tuple[str, ...]) -> None:
    shown = call(*arguments)
    assert shown.exit_code == 2
    assert f"no study '{arguments[1]}'" in shown.stderr


BAD_FILES = {
    "missing": None,
    "empty": b"",
    "not_yaml": b"name: [1",
    "a_list": b"- name: x",
    "binary": b"\xff\xfe\x00",
    "tag": b"name: !!python/object/apply:os.system ['true']",
    "aliases": b"name: x\nmodel: &a {hidden: [8]}\ntraining: *a",
    "twice": b"name: x\nname: y",
}


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_bad_file_is_said_and_nothing_is_written(
    call: Call, tmp_path: Path, kind: str, command: str
) -> None:
    file = tmp_path / f"{kind}.yaml"
    content = BAD_FILES[kind]
    if content is not None:
        file.write_bytes(content)
    shown = call(command, file)
    assert shown.exit_code == 2
    assert shown.stderr.startswith(str(file))
    assert isinstance(shown.exception, SystemExit)
    assert not (tmp_path / "results").exists()


BAD_VALUES = {
    "modle.hidden=[8]": "modle: is not a field (did you mean model?)",
    "model.dropout=1.5": "model.dropout: must lie in [0, 1), got 1.5",
    "model.dropout={low: 0.5, high: 0.5}": "model.dropout: low must be below high",
    "training.learning_rate={low: 0, high: 1, log: true}": "training.learning_rate",
    "model.start_from={keep: 1}": "model.start_from.source: is missing",
    "model.activation={maxout: {pieces: 1}}": "model.activation.maxout.pieces: must be at least 2",
    "name=../x": "name: must be letters",
    "data.source=idx:nowhere": "/nowhere/train-images-idx3-ubyte.gz: must be a file",
    "data.source=nonsense": "data.source: data source 'nonsense': must be one of",
    "search.sampler=grid": "model.dropout: has endless values",
    "training.batch_size=1": "training.batch_size: must be at least 2 with model.batch_norm",
}


@pytest.mark.parametrize("assignment", BAD_VALUES)
def test_a_bad_value_is_said_and_nothing_is_written(
    call: Call, tmp_path: Path, assignment: str
) -> None:
    shown = call("run", DIGITS, "--set", assignment)
    assert shown.exit_code == 2
    assert BAD_VALUES[assignment] in shown.stderr
    assert not (tmp_path / "results").exists()


def test_all_mistakes_are_said_at_once(call: Call) -> None:
    shown = call("run", DIGITS, "--set=model.dropout=2", "--set=replicates=0", "--set=searhc.x=1")
    assert [line.partition(":")[0] for line in shown.stderr.splitlines()] == [
        "searhc",
        "model.dropout",
        "replicates",
    ]


BAD_DATA: dict[str, dict[str, np.ndarray]] = {
    "has NaN": {"x": np.full((40, 3), np.nan), "y": np.arange(40) % 2},
    "one class": {"x": np.zeros((40, 3)), "y": np.zeros(40, int)},
    "labels not whole": {"x": np.zeros((40, 3)), "y": np.arange(40) / 3},
    "lengths differ": {"x": np.zeros((40, 3)), "y": np.arange(39) % 2},
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data_are_said_and_nothing_is_written(call: Call, tmp_path: Path, kind: str) -> None:
    np.savez(tmp_path / "data.npz", allow_pickle=False, **BAD_DATA[kind])
    shown = call("run", DIGITS, "--set", "data.source=npz:data.npz")
    assert shown.exit_code == 2
    assert shown.stderr.startswith(f"data.source: {tmp_path}/data.npz:")
    assert not (tmp_path / "results").exists()


def test_a_truncated_data_file_is_said(call: Call, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((40, 3)), y=np.arange(40) % 2)
    whole = (tmp_path / "data.npz").read_bytes()
    (tmp_path / "data.npz").write_bytes(whole[: len(whole) // 2])
    shown = call("run", DIGITS, "--set", "data.source=npz:data.npz")
    assert shown.exit_code == 2
    assert shown.stderr.startswith(f"data.source: {tmp_path}/data.npz:")


def test_a_workspace_that_cannot_be_written_is_said(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    shown = call("run", DIGITS, "--workspace", tmp_path / "file" / "below")
    assert shown.exit_code == 2
    assert "cannot be written" in shown.stderr


def test_wrong_usage_exits_2(call: Call) -> None:
    assert call("run", "--nonsense").exit_code == 2
    assert call("nonsense").exit_code == 2
    assert call("run", DIGITS, "--set", "no-equals-sign").exit_code == 2


def test_check_prints_the_claims(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "claims.yaml"
    file.write_text(
        "name: a\nmodel: {batch_norm: {choose: [none, after]}}\n"
        "claims: [{name: norm, compare: {model.batch_norm: [after, none]}, expect: after > none}]\n"
    )
    assert json.loads(call("check", file, "--json").stdout)["claims"] == {
        "norm": "val_accuracy: after > none"
    }
    assert "claim norm: val_accuracy: after > none" in call("check", file).stdout
    shown = call("run", file, "--set", "model.batch_norm=after")
    assert shown.exit_code == 2
    assert "claims.0.compare.model.batch_norm: is not a field that is searched" in shown.stderr


def test_a_study_that_cannot_be_read_hides_no_other(call: Call, tmp_path: Path) -> None:
    for name in ("broken", "cut", "whole"):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "study.yaml").write_text(f"name: {name}\n")
    (tmp_path / "results/broken/study.yaml").write_text("name: [\n")
    (tmp_path / "results/cut/outbox.db").write_bytes(b"no database at all, but some other file")
    shown = call("list", "--json")
    assert shown.exit_code == 0
    entries = {each["name"]: each for each in json.loads(shown.stdout)}
    assert {name: each["state"] for name, each in entries.items()} == {
        "broken": "unreadable",
        "cut": "unreadable",
        "whole": "interrupted",
    }
    assert "not valid YAML" in entries["broken"]["reason"]
    assert "cut can't be read" in shown.stderr
    assert call("list").exit_code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a", "--decide: needs a study with claims, got 'a'"),
        (
            "name: a\nmodel: {batch_norm: {choose: [none, after]}}\nclaims: [{name: norm, "
            "compare: {model.batch_norm: [after, none]}, expect: after > none}]",
            "search.looks: must be 1 unless search.sampler is grid or factorial, got 2",
        ),
    ],
)
def test_decide_says_why_it_cannot(call: Call, tmp_path: Path, text: str, message: str) -> None:
    folder = tmp_path / "results" / "a"
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(text)
    shown = call("resume", "a", "--decide")
    assert shown.exit_code == 2
    assert shown.stderr.strip() == message
    assert [each.name for each in folder.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize(
    ("search", "trials", "message"),
    [
        ("{sampler: grid}", "+1", "--trials: grid has no more than 2 trials, got '+1'"),
        ("{sampler: factorial}", "3", "--trials: factorial has no more than 2 trials, got '3'"),
        ("{sampler: {pbt: {population: 2}}}", "+4", "--trials: pbt has no more than 12 trials"),
    ],
)
def test_a_plan_that_has_no_more_trials(
    call: Call, tmp_path: Path, search: str, trials: str, message: str
) -> None:
    folder = tmp_path / "results" / "a"
    folder.mkdir(parents=True)
    space = "model: {dropout: {choose: [0.0, 0.2]}}"
    (folder / "study.yaml").write_text(f"name: a\n{space}\nsearch: {search}\n")
    shown = call("resume", "a", "--trials", trials)
    assert shown.exit_code == 2
    assert shown.stderr.startswith(message)
    assert [each.name for each in folder.iterdir()] == ["study.yaml"]


def test_sync_changes_nothing_where_nothing_waits(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "a"
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text("name: a\n")
    Outbox(folder / "outbox.db").close()
    before = folder.stat().st_mtime_ns
    assert call("sync").exit_code == 0
    assert folder.stat().st_mtime_ns == before
