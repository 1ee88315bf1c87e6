"""Population-based training with real nets: in this process, and on Ray with MLflow."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweep.answers import retraining
from sweep.answers.reproduction import reproduce
from sweep.answers.results import Results, read
from sweep.datasets import Datasets
from sweep.pruners import NoPruner
from sweep.scheduling.folders import LocalFolder
from sweep.scheduling.loop import Loop
from sweep.scheduling.runner import Advanced, Link, LocalRunner, advance
from sweep.scheduling.states import States
from sweep.scheduling.write_behind import WriteBehind
from sweep.search.search import Search
from sweep.search.storage import Storage
from sweep.spec.study import check
from sweep.spec.study_file import dump
from sweep.workspace import Workspace
from tests.integration.conftest import Sweep, eventually
from tests.integration.test_reproducible import _ended, table
from tests.sweep.fakes import FakeRecords

SIZE, SEGMENTS = 5, 3
VALUES: dict[str, Any] = {
    "name": "bred",
    "model": {
        "hidden": {"choose": [[8], [16]]},
        "batch_norm": "before",
        "dropout": {"low": 0, "high": 0.5},
    },
    "training": {
        "epochs": 9,
        "optimizer": "momentum",
        "learning_rate": {"low": 1e-3, "high": 1, "log": True},
    },
    "search": {"sampler": {"pbt": {"population": SIZE, "segments": SEGMENTS}}},
    "replicates": 2,
}


def undisturbed(path: Path) -> Results:
    """The study, run in this process and recorded nowhere."""
    study = check(VALUES)
    folder = Workspace(path).study("bred")
    folder.create(study.text)
    with closing(WriteBehind(States(LocalFolder(folder.states)))) as states:
        Loop(
            study=study,
            search=Search(study, Storage(folder.storage, study.name, directions=study.directions)),
            runner=LocalRunner(Datasets(study)),
            pruner=NoPruner(),
            records=FakeRecords([]),
            watch=lambda standing: None,
            states=states,
        ).run()
    assert not folder.states.exists()
    return read(folder)


def test_a_segment_is_what_training_its_whole_line_gives(tmp_path: Path) -> None:
    results = undisturbed(tmp_path)
    assert results.state == "finished"
    assert [each.epoch for each in results.trials] == [3] * SIZE + [6] * SIZE + [9] * SIZE
    parents = [each.parent for each in results.trials]
    assert parents[:SIZE] == [None] * SIZE
    moved = [n for n, parent in enumerate(parents) if parent not in (None, n - SIZE)]
    assert len(moved) == 2  # a fifth of five, in each generation after the first
    for number in (moved[-1], 3 * SIZE - 1):
        assert reproduce(results, number, Datasets(results.study)).identical


def test_a_segment_is_trained_again_on_the_device_that_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as links tell: there need be no card."""
    links: list[Link] = []

    def train(link: Link, *args: Any) -> tuple[Any, Any]:
        links.append(link)
        outcome, state = advance(replace(link, gpu=False), *args)
        assert isinstance(outcome, Advanced)
        card = {"gpu": "a card"} if link.gpu else {}
        return replace(outcome, environment={**outcome.environment, **card}), state

    monkeypatch.setattr(retraining, "advance", train)
    results, number = undisturbed(tmp_path), 3 * SIZE - 1
    parent = results.trials[number].parent
    assert parent is not None
    between, last = results.trials[parent], results.trials[number]
    between.environment["gpu"] = "a card"
    found = reproduce(results, number, Datasets(results.study))
    assert (found.identical, found.comparable) == (True, True)
    assert [link.gpu for link in links] == [False, True, False]

    last.metrics["val_loss"] = [0.0] * 2
    assert "differs" in str(reproduce(results, number, Datasets(results.study)))
    between.environment["changed"] = ["gpu"]  # it was on a card for a part of its way
    told = str(reproduce(results, number, Datasets(results.study)))
    assert f"trial {number} is not comparable (gpu changed)" in told


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_workers_and_kills_change_nothing(sweep: Sweep, tmp_path: Path) -> None:
    study = tmp_path / "bred.yaml"
    study.write_text(dump(VALUES), encoding="utf-8")
    expected = undisturbed(tmp_path / "alone")
    for ended in (3, 8):
        process = sweep.start("run", study)
        eventually(lambda ended=ended: _ended(sweep.workspace, "bred") >= ended, 60)  # type: ignore[misc]
        process.kill()
        process.communicate(timeout=30)
    sweep("resume", "bred")
    assert table(sweep.show("bred")) == table(expected.full())
    with sqlite3.connect(sweep.workspace / "mlflow.db") as database:
        query = "SELECT value FROM tags WHERE key = 'sweep.parent'"
        recorded = sorted(int(value) for (value,) in database.execute(query))
    assert recorded == sorted(each.parent for each in expected.trials if each.parent is not None)
