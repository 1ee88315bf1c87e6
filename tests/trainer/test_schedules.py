"""Each schedule against its formula, step by step, and what the training makes of it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from tests.trainer.test_replicates import assert_same
from trainer.config import Config, conflicts
from trainer.data import Data
from trainer.reading import check
from trainer.schedules import SCHEDULES, factors, follow, plateau
from trainer.state import State
from trainer.training import train

STEPS, EPOCHS = 7, 10
LAST = STEPS * EPOCHS - 1


def one_cycle(step: int) -> float:
    """0.25 of the steps up from a tenth, the others down to a thousandth."""
    peak = 0.25 * (LAST + 1) - 1
    if step <= peak:
        return 0.1 + 0.9 * (1 - math.cos(math.pi * step / peak)) / 2
    return 0.001 + 0.999 * (1 + math.cos(math.pi * (step - peak) / (LAST - peak))) / 2


CASES: list[tuple[Any, Callable[[int], float]]] = [  # schedule, factor of a step counted from 0
    ("constant", lambda _step: 1.0),
    ("plateau", lambda _step: 1.0),
    ({"step": {"epochs": 3}}, lambda step: 0.5 ** (step // STEPS // 3)),
    ({"exponential": {"epochs": 4}}, lambda step: 10 ** -(step / STEPS / 4)),
    ({"power": {"epochs": 4, "power": 2}}, lambda step: (1 + step / STEPS / 4) ** -2),
    (
        {"piecewise": {"after": [2, 5], "factors": [0.3, 2.0]}},
        lambda step: 1.0 if step < 2 * STEPS else 0.3 if step < 5 * STEPS else 2.0,
    ),
    ("cosine", lambda step: (1 + math.cos(math.pi * step / STEPS / EPOCHS)) / 2),
    (
        {"cosine": {"floor": 0.2}},
        lambda step: 0.2 + 0.4 * (1 + math.cos(math.pi * step / STEPS / EPOCHS)),
    ),
    ({"one_cycle": {"warmup": 0.25, "start": 0.1, "end": 0.01}}, one_cycle),
]


def reckoned(schedule: Any, warmup: float = 0.0, epochs: int = EPOCHS) -> list[float]:
    technique = check(Config, {"training": {"schedule": schedule}}).training.schedule
    found: list[float] = []
    for epoch in range(1, epochs + 1):
        part = factors(technique, warmup, epoch=epoch, steps=STEPS, epochs=epochs)
        assert part.shape == (STEPS, 1)
        found += part[:, 0].tolist()
    return found


@pytest.mark.parametrize(("schedule", "formula"), CASES, ids=str)
def test_formula(schedule: Any, formula: Callable[[int], float]) -> None:
    expected = [formula(step) for step in range(LAST + 1)]
    np.testing.assert_allclose(reckoned(schedule), expected, rtol=1e-12)


def test_every_schedule_has_a_case() -> None:
    named = {name if isinstance(name, str) else next(iter(name)) for name, _ in CASES}
    assert named == SCHEDULES.keys()


@pytest.mark.parametrize(("warmup", "rising"), [(2, 14), (0.5, 3)])
def test_warmup_rises_in_equal_steps_to_the_schedule(warmup: float, rising: int) -> None:
    plain, warm = reckoned("cosine"), reckoned("cosine", warmup)
    expected = [(step + 1) / (warmup * STEPS) * plain[step] for step in range(rising)]
    np.testing.assert_allclose(warm[:rising], expected)
    assert warm[rising:] == plain[rising:]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_no_step_is_without_a_rate(schedule: str, epochs: int) -> None:
    found = reckoned(schedule, 1.0, epochs)
    assert all(0 < each <= 1 for each in found)


def test_plateau_lowers_the_rate_of_each_replicate() -> None:
    found = check(
        Config, {"training": {"schedule": {"plateau": {"factor": 0.1, "patience": 2}}}}
    ).training.schedule
    state = plateau(found, 2)
    losses = [(5.0, 5.0), (4.0, 5.0), (3.0, 6.0), (3.0, 5.5), (2.0, 5.0), (2.0, 4.0)]
    lowered = []
    for row in losses:
        for replicate, loss in enumerate(row):
            follow(found, state, replicate, {"val_loss": loss, "val_accuracy": 0.0})
        lowered.append(state["plateau.factor"].tolist())
    # the second waits at epochs 2 and 3, falls, waits at 4 and 5, falls, and is better at 6
    np.testing.assert_allclose([row[1] for row in lowered], [1, 1, 0.1, 0.1, 0.01, 0.01])
    assert [row[0] for row in lowered] == [1.0] * 6


def test_a_plateau_may_be_one_of_accuracy() -> None:
    technique = check(
        Config,
        {"training": {"schedule": {"plateau": {"patience": 1, "monitor": "val_accuracy"}}}},
    ).training.schedule
    state = plateau(technique, 1)
    for accuracy in (0.5, 0.6, 0.6):
        follow(technique, state, 0, {"val_loss": 0.0, "val_accuracy": accuracy})
    assert state["plateau.factor"].tolist() == [0.5]


SCHEDULED: list[Any] = [
    *SCHEDULES,
    {"plateau": {"patience": 1, "monitor": "val_accuracy"}},
    {"piecewise": {"after": [1, 4], "factors": [0.5, 0.1]}},
]


@pytest.mark.parametrize("optimizer", ["adam", "ftrl"])
@pytest.mark.parametrize("schedule", SCHEDULED, ids=str)
def test_links_and_company_change_nothing(
    data: Data, schedule: Any, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {"schedule": schedule, "warmup": 1.5, "optimizer": optimizer, "learning_rate": 0.1}
    cfg = config({"batch_norm": "after", "dropout": 0.3}, **training)
    whole = train(cfg, data, None, 9, seed=1, replicates=3)
    state: State | None = None
    rates = []
    for until in (1, 3, 9):
        link = train(cfg, data, state, until, seed=1, replicates=3)
        state = link.state
        rates.append(link.history["learning_rate"])
    assert state is not None
    assert_same(state, whole.state)
    np.testing.assert_array_equal(np.concatenate(rates), whole.history["learning_rate"])
    monkeypatch.setattr("trainer.training.CACHE", 1)  # one replicate at a time
    alone = train(cfg, data, None, 9, seed=1, replicates=3)
    assert_same(alone.state, whole.state)


def test_replicates_fall_at_epochs_of_their_own() -> None:
    cfg = config(schedule={"plateau": {"patience": 1}}, learning_rate=0.1, epochs=20)
    rates = train(cfg, Data((fold(),), 3), None, 20, seed=0, replicates=3).history["learning_rate"]
    assert (rates[0] == 0.1).all()
    assert (rates[-1] < 0.1).all()
    assert len({tuple(column) for column in rates.T}) > 1, "choose a seed where they differ"
    np.testing.assert_allclose(np.log2(rates / 0.1), np.round(np.log2(rates / 0.1)), atol=1e-9)


@pytest.mark.parametrize("rungs", [(9,), (2, 5, 9)])
def test_a_rung_is_not_the_end_of_the_schedule(data: Data, rungs: tuple[int, ...]) -> None:
    cfg, state, found = config(schedule="cosine"), None, []
    for until in rungs:
        link = train(cfg, data, state, until, seed=0, replicates=1)
        state = link.state
        found += link.history["learning_rate"][:, 0].tolist()
    last = np.arange(1, 10) * 8 - 1  # of eight steps an epoch
    np.testing.assert_allclose(found, 0.01 * (1 + np.cos(np.pi * last / 72)) / 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"after": [1, 2], "factors": [0.5]},
            "training.schedule.piecewise.factors: must be as many as "
            "training.schedule.piecewise.after (2), got 1",
        ),
        (
            {"after": [3, 3], "factors": [0.5, 0.1]},
            "training.schedule.piecewise.after: must rise, got [3, 3]",
        ),
    ],
)
def test_conflicts(given: dict[str, Any], message: str) -> None:
    found = conflicts(check(Config, {"training": {"schedule": {"piecewise": given}}}))
    assert [str(problem) for problem in found] == [message]
