"""`search.reproducible`: the table of trials is a function of the study file."""

from pathlib import Path
from typing import Any

import pytest

from sweep import driver
from sweep.scheduling.runner import LocalRunner
from sweep.search.storage import Storage
from sweep.workspace import Workspace
from tests.integration.conftest import ROOT, Sweep, eventually

ASSIGNMENTS = (
    "search.reproducible=true",
    "search.lag=4",
    "search.trials=24",
    "training.epochs=9",
    "replicates=2",
)


def table(shown: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = ("number", "state", "reason", "params", "values", "epoch")
    return [tuple(trial[name] for name in names) for trial in shown["trials"]]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_slots_and_kills_change_nothing(sweep: Sweep) -> None:
    study = ROOT / "studies" / "digits.yaml"
    given = [f"--set={each}" for each in ASSIGNMENTS]
    sweep("run", study, *given)
    undisturbed = table(sweep.show("digits"))
    assert {state for _, state, *_ in undisturbed} == {"complete", "pruned"}

    alone = sweep.workspace.parent / "alone"
    results = driver.run(
        study, assignments=ASSIGNMENTS, folder=str(alone), quiet=True, runner=_local
    ).results
    assert table(results.full()) == undisturbed

    for ended in (4, 11):
        process = sweep.start(
            "run", study, "--name", "killed", "--set=checkpoint.seconds=0", *given
        )
        eventually(lambda ended=ended: _ended(sweep.workspace, "killed") >= ended, 60)  # type: ignore[misc]
        process.kill()
        process.communicate(timeout=30)
    sweep("resume", "killed")
    # Hyperband apart, a study's name decides nothing.
    assert table(sweep.show("killed")) == undisturbed


def _local(datasets: Any, _resources: Any, _address: str | None) -> LocalRunner:
    return LocalRunner(datasets)


def _ended(workspace: Path, name: str) -> int:
    try:
        trials = Storage(Workspace(workspace).study(name).trials, name).trials()
    except (FileNotFoundError, KeyError):
        return 0
    return sum(each.state.is_finished() for each in trials)
