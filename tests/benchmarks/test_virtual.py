"""What the virtual-time benchmark rests on: a replay tells what the table holds, in its time."""

import math
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import TrialState

from benchmarks import __main__, curves, table, virtual
from benchmarks.replay import Find, Method, Replay, ToldComplete, replayed
from benchmarks.table import Table
from sweep.scheduling.runner import Advanced, Link
from sweep.search import samplers
from sweep.search.sampler import Result
from sweep.spec import space
from sweep.spec.study import check

EPOCHS = 27


@pytest.fixture(scope="module")
def made() -> Table:
    """Curves that fall to the square of the distance from one cell, with a little noise."""
    generator = np.random.default_rng(0)
    keys = np.array([table._key(each) for each in table.cells()], dtype=str)
    places = np.stack([np.unique(column, return_inverse=True)[1] for column in keys.T], axis=1)
    size = len(places)
    last = 0.1 + 0.02 * ((places - places[4321]) ** 2).sum(axis=1)
    falling = np.exp(-np.arange(1, EPOCHS + 1) / 5)
    losses = last[:, None, None] + falling[:, None] + 1e-3 * generator.random((size, EPOCHS, 3))
    return Table(losses, losses[:, -1] + 0.01, generator.uniform(0.5, 1.5, size))


def config(number: int) -> dict[str, object]:
    """The configuration of a row."""
    cell = table.cells()[number]
    found: dict[str, object] = space.resolve(table.gridded(), lambda each: cell[each.name])
    return found


def link(trial: int, number: int, until: int) -> Link:
    return Link(trial, config(number), until, seed=0, replicates=3)


def only(outcomes: list[object]) -> Advanced:
    (outcome,) = outcomes
    assert isinstance(outcome, Advanced)
    return outcome


def test_every_row_is_the_one_in_whose_cell_its_centre_lies() -> None:
    size = len(table.cells())
    assert size >= 10_000
    for number in [*range(0, size, 97), size - 1]:
        assert table.row(config(number)) == number


def test_a_suggestion_lies_in_the_cell_around_it() -> None:
    first = config(0)
    for rate, cell in ((1e-4, 0), (1.01e-4, 0), (1.8e-4, 0), (1.9e-4, 1), (0.06, 10), (0.1, 10)):
        training = {**table.study().first_config()["training"], "learning_rate": rate}
        found = table.row({**first, "training": training})
        assert table.cells()[found] == {
            **table.cells()[0],
            "training.learning_rate": table.cells()[cell]["training.learning_rate"],
        }


def test_a_replay_gives_the_values_of_the_table_in_its_time(made: Table) -> None:
    runner = Replay(made, slots=2)
    for trial, number in ((0, 10), (1, 20), (2, 30)):
        runner.submit(link(trial, number, 3))
    ends = {trial: 3 * made.seconds[number] for trial, number in ((0, 10), (1, 20))}
    ends[2] = min(ends.values()) + 3 * made.seconds[30]
    while ends:
        outcome = only(list(runner.wait(0.25)))
        number = 10 * (outcome.number + 1)
        assert runner.now == pytest.approx(ends.pop(outcome.number))
        assert (outcome.epoch, outcome.finished, outcome.diverged) == (3, False, None)
        np.testing.assert_array_equal(outcome.history["val_loss"], made.losses[number, :3])
        np.testing.assert_array_equal(outcome.metrics["val_loss"], made.losses[number, 2])
    began = runner.now
    runner.submit(link(1, 20, EPOCHS))
    outcome = only(list(runner.wait(0.25)))
    assert outcome.finished
    np.testing.assert_array_equal(outcome.history["val_loss"], made.losses[20, 3:])
    assert runner.now - began == pytest.approx(24 * made.seconds[20])


def test_a_replicate_that_diverges_ends_its_trial_there(made: Table) -> None:
    losses = made.losses.copy()
    losses[10, 4:, 1] = np.nan
    runner = Replay(Table(losses, made.held_out, made.seconds), slots=1)
    runner.submit(link(0, 10, EPOCHS))
    outcome = only(list(runner.wait(0.25)))
    assert (outcome.epoch, outcome.diverged, outcome.finished) == (5, 5, True)
    assert runner.now == pytest.approx(5 * made.seconds[10])


def chance(number: int) -> float:
    """How likely a uniform draw from the space falls into a row's cell."""
    cell, parameters = table.cells()[number], table.study().parameters()
    counts = [
        table.CELLS[each.name] if isinstance(each, space.Range) else len(each.labels)
        for each in parameters
        if each.name in cell
    ]
    return 1 / math.prod(counts)


def test_random_search_takes_as_long_as_the_table_says(made: Table) -> None:
    seeds = 40
    values = made.values()
    goal = float(np.quantile(values, 0.05))
    chances = np.array([chance(number) for number in range(len(values))])
    assert chances.sum() == pytest.approx(1)
    # Wald: as many draws as a hit takes, each of which costs what a row costs in the mean.
    expected = EPOCHS * (chances @ made.seconds) / chances[values <= goal].sum()
    found = virtual.sweeps(made, Method("random"), 1, 10_000, goal, seeds)
    assert found.there(goal).all()
    taken = found.until(goal)
    assert abs(taken.mean() - expected) < 2.5 * expected / math.sqrt(seeds)
    assert taken.std() > expected / 3


def test_tpe_and_asha_get_there_sooner_and_more_slots_too(made: Table) -> None:
    goal = float(np.sort(made.values())[20])

    def taken(method: Method, slots: int) -> float:
        found = virtual.sweeps(made, method, slots, 300, goal, 3)
        return float(found.until(goal).mean())

    alone = taken(Method("tpe"), 1)
    assert alone < taken(Method("random"), 1) / 2
    # These curves never cross, so the first epoch tells who wins.
    assert taken(Method("tpe", virtual.EARLY), 1) < alone
    assert taken(Method("tpe"), 8) < alone / 2


def test_a_sweep_is_cut_off_when_its_time_is_up(made: Table) -> None:
    finds = replayed(made, Method("random"), 3, 0, goal=0.0, seconds=1000)
    assert finds
    assert [each.seconds for each in finds] == sorted(each.seconds for each in finds)
    assert all(each.seconds <= 1000 for each in finds)
    values = [each.value for each in finds]
    assert values == sorted(values, reverse=True)
    assert values == pytest.approx([made.values()[each.row] for each in finds])


@pytest.mark.parametrize("told_complete", [False, True])
def test_how_a_pruned_trial_is_told(told_complete: bool) -> None:
    study = check(table.values() | {"search": {"sampler": "tpe"}})
    inner = samplers.make(study, [])
    assert isinstance(inner, samplers.OptunaSampler)
    sampler = ToldComplete(inner) if told_complete else inner
    for number in range(2):
        sampler.ask(number)
        sampler.tell(number, Result(TrialState.PRUNED, None, {1: 0.9, 3: 0.4}))
    sampler.ask(2)
    first = inner._study.trials[0]
    if told_complete:
        assert (first.state, first.value) == (TrialState.COMPLETE, 0.4)
    else:
        assert (first.state, first.intermediate_values) == (TrialState.PRUNED, {1: 0.9, 3: 0.4})


def test_a_sweep_that_does_not_get_there_counts_with_all_its_time() -> None:
    sweeps = virtual.Sweeps([[Find(2.0, 0.5, 0), Find(3.0, 0.1, 1)], [Find(4.0, 0.4, 2)]], 10.0)
    assert sweeps.until(0.3).tolist() == [3.0, 10.0]
    assert sweeps.there(0.3).tolist() == [True, False]
    twice = virtual._row("", np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert (twice.ratio, twice.interval) == (2.0, (2.0, 2.0))


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of three rows, in blocks of two."""
    monkeypatch.setattr(curves, "FILE", tmp_path / "table.npz")
    monkeypatch.setattr(curves, "BLOCK", 2)
    monkeypatch.setattr(curves, "cells", lambda: table.cells()[:3])
    return tmp_path


def test_the_table_is_made_block_by_block(short: Path) -> None:
    blocks = short / "blocks"
    curves.make(blocks)
    first, second = sorted(blocks.iterdir())
    before = first.stat().st_mtime_ns
    second.unlink()
    curves.make(blocks)
    assert first.stat().st_mtime_ns == before
    found = table.load(short / "table.npz")
    assert (found.losses.shape, found.held_out.shape) == ((3, EPOCHS, 3), (3, 3))
    assert (found.seconds > 0).all()
    losses, _ = curves.trained(config(2), curves.data())
    np.testing.assert_allclose(found.losses[2], losses[:, :3], rtol=1e-3)
    np.testing.assert_allclose(found.held_out[2], losses[-1, 3:], rtol=1e-3)


def test_divergence_is_nan_from_its_epoch_on() -> None:
    relu = next(n for n, each in enumerate(table.cells()) if each["model.activation"] == "relu")
    training = {**table.study().first_config()["training"], "learning_rate": 1e30}
    losses, _ = curves.trained({**config(relu), "training": training}, curves.data())
    bad = np.isnan(losses)
    assert bad.any(axis=0).all()
    assert (np.diff(bad.astype(int), axis=0) >= 0).all()


def test_a_table_of_another_space_is_refused(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = short / "table.npz"
    with pytest.raises(FileNotFoundError, match="make it"):
        table.load(path)
    np.savez(path, space=np.array("another"))
    with pytest.raises(ValueError, match="another space"):
        table.load(path)


def test_seeds_belong_to_virtual(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["virtual", "--seeds", "0"], ["scale", "--seeds", "2"]):
        with pytest.raises(SystemExit):
            __main__.main(wrong)
        assert "--seeds: is virtual's alone, and at least 1" in capsys.readouterr().err


def test_the_table_holds_what_the_trainer_gives() -> None:
    found = table.load()
    assert found.losses.shape == (len(table.cells()), EPOCHS, 3)
    assert len(found.held_out) == len(found.seconds) == len(found.losses)
    assert np.isfinite(found.values()).all()
    for number in (0, 5005, 10_388):  # whose rates amplify little of what BLAS rounds
        losses, _ = curves.trained(config(number), curves.data())
        np.testing.assert_allclose(losses[:2, :3], found.losses[number, :2], rtol=0.01)
