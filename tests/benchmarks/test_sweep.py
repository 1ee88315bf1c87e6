"""What the comparison of sweeps rests on: equal work, and figures that say what they claim."""

import sqlite3
from pathlib import Path

import optuna
import pytest

from benchmarks import history, own, trials
from benchmarks.child import call
from sweep.spec.study import check


def suggested(seed: int) -> trials.Params:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return trials.suggested(study.ask())


def test_peers_search_the_same_space() -> None:
    names = {each.name for each in trials.study().parameters()}
    found: set[str] = set()
    for seed in range(30):
        params = suggested(seed)
        assert check(trials.values(1) | trials.study().config(params)).parameters() == []
        found |= set(params)
    assert found == names


def test_training_alone_must_come_to_the_same_value() -> None:
    params = suggested(0)
    outcome, _ = trials.trained(params, trials.data())
    assert len(trials.epochs(outcome)) == trials.EPOCHS
    value = trials.final(outcome)
    assert 0 < sum(trials.alone([(params, value)])) < 10
    with pytest.raises(AssertionError):
        trials.alone([(params, value + 0.01)])


def test_data_are_all_sent_when_only_pictures_wait(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    assert own.all_data_sent(path) is None
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE entries (kind, state, late)")
        db.execute("INSERT INTO entries VALUES ('TrialEnded', 'sent', 0)")
    assert own.all_data_sent(path) is None
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO entries VALUES ('SweepEnded', 'pending', 0)")
    assert own.all_data_sent(path) is None
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entries SET state = 'sent'")
        db.execute("INSERT INTO entries VALUES ('LearningCurve', 'pending', 1)")
    assert own.all_data_sent(path) is not None


def test_decisions_are_those_of_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = history.decided(2 * history.BLOCK + 1, "none")
    assert [length for length, _ in found] == [history.BLOCK, 2 * history.BLOCK]
    assert all(0 < seconds < 0.1 for _, seconds in found)


def test_a_call_that_fails_says_why(tmp_path: Path) -> None:
    assert call("math", "sqrt", 4, cwd=tmp_path) == 2
    with pytest.raises(RuntimeError, match="math domain error"):
        call("math", "sqrt", -1, cwd=tmp_path)
