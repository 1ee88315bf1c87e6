"""`stop` from another terminal, while a driver holds the study."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sweep.__main__ import cli
from sweep.search.samplers import distribution
from sweep.search.storage import Storage
from sweep.search.trial import Event, Trial
from sweep.spec.study import Study
from sweep.workspace import StudyFolder, Workspace

MakeStudy = Callable[..., Study]


@pytest.fixture
def held(tmp_path: Path, make_study: MakeStudy) -> Iterator[StudyFolder]:
    """A study that runs: trial 0 is complete, trial 1 under way."""
    study = make_study(model={"dropout": {"low": 0, "high": 0.9}})
    folder = Workspace(tmp_path).study(study.name)
    folder.create(study.text)
    storage = Storage(folder.trials, study.name, directions=study.directions)
    for number in range(2):
        trial = Trial(number, {"model.dropout": number / 10}, {})
        storage.start(trial, {each.name: distribution(each) for each in study.parameters()})
        trial.happens(Event.SUBMIT)
        if number == 0:
            trial.epoch, trial.values = 9, [0.5]
            trial.happens(Event.FINISH)
            storage.end(trial)
    with folder.held():
        yield folder


def stop(folder: StudyFolder, *arguments: str) -> Result:
    workspace = ("--workspace", str(folder.path.parent))
    return CliRunner().invoke(cli, ["stop", folder.name, *arguments, *workspace])


def test_a_trial_that_runs_is_asked_to_stop(held: StudyFolder) -> None:
    assert stop(held, "--trial", "1").output == "asked trial 1 to stop\n"
    (wish,) = held.wishes.iterdir()
    assert wish.name.startswith("1-")


@pytest.mark.parametrize(("number", "why"), [("0", "complete"), ("7", "not there")])
def test_a_trial_that_does_not_run_is_said(held: StudyFolder, number: str, why: str) -> None:
    shown = stop(held, "--trial", number)
    assert shown.exit_code == 2
    assert shown.output == (f"trial {number} of 'test' is {why}: only what runs can be stopped\n")
    assert not held.wishes.exists()
