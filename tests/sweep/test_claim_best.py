"""Claims on options at their own best value of a field."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from sweep.answers import claims_table
from sweep.answers.results import Results
from tests.sweep.designs import CLAIM, Value, asked, designed, found, noise, ran, trial

RATES: dict[str, Any] = {
    "model": {"batch_norm": {"choose": ["before", "after"]}},
    "training": {"learning_rate": {"choose": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}},
}
BEST = CLAIM | {"best_over": "training.learning_rate"}


def rated(effect: float, random: np.random.Generator) -> Value:
    """After has one good rate, before six equal ones; what is best is the same but for `effect`."""
    drawn = random.standard_normal((2, 6, 100))

    def value(params: Mapping[str, Any], replicate: int) -> float:
        after = params["model.batch_norm"] == "after"
        rate = round(10 * float(params["training.learning_rate"])) - 1
        level = (effect if rate == 2 else -9.0) if after else 0.0
        return level + float(drawn[int(after), rate, replicate])

    return value


def test_each_option_is_taken_at_its_own_best_value() -> None:
    study = designed(BEST, **RATES, replicates=15)

    def value(params: Mapping[str, Any], replicate: int) -> float:
        rate, after = params["training.learning_rate"], params["model.batch_norm"] == "after"
        return -abs(float(rate) - (0.2 if after else 0.5)) + 0.001 * noise(params, replicate)

    it = found(ran(study, value))
    assert it.chosen == ((0.2,), (0.5,))
    assert (it.replicates, it.pairs) == (10, 1)
    assert it.effect == pytest.approx(0.0, abs=0.001)
    assert claims_table.rows([it])[0][0].endswith(
        "at the best training.learning_rate of each; chosen 0.2 and 0.5)"
    )
    assert "(one in 3) chose that value" in claims_table.note([it])


def test_for_a_loss_the_best_is_the_smallest() -> None:
    study = designed(BEST | {"by": "val_loss"}, **RATES, replicates=15)
    it = found(ran(study, lambda params, _: float(params["training.learning_rate"])))
    assert it.chosen == ((0.6,), (0.6,))  # the loss of a trial here is less its accuracy


def test_later_looks_judge_what_the_first_chose() -> None:
    study = designed(BEST, **RATES, search={"looks": 2}, replicates=9)
    one, two = rated(0.0, np.random.default_rng(0)), rated(0.0, np.random.default_rng(1))
    trials = []
    for number, params in enumerate(asked(study)):
        value = (one, two)[study.look_of(number)]
        found_there = [value(params, each) for each in study.replicates_of(number)]
        trials.append(trial(number, params, found_there))
    it = found(Results(study, "finished", trials, [], None))
    first = found(ran(designed(BEST, **RATES, replicates=9), one))
    assert (first.replicates, it.replicates, it.look) == (6, 15, 2)
    assert it.chosen == first.chosen


def test_at_their_own_best_values_intervals_cover_the_effect_and_few_verdicts_are_false() -> None:
    """A thousand studies in which the best of six equal rates is compared with one good rate.

    To choose and to judge with the same replicates would find the six better in most of them.
    """
    study = designed(BEST, **RATES, replicates=15)
    cells = list(asked(study))
    random = np.random.default_rng(5)
    covered = false = naive = 0
    effects = []
    for _ in range(1000):
        value = rated(0.0, random)
        trials = [
            trial(number, cell, [value(cell, each) for each in range(15)])
            for number, cell in enumerate(cells)
        ]
        it = found(Results(study, "finished", trials, [], None))
        assert it.low is not None
        assert it.high is not None
        effects.append(it.effect or 0.0)
        covered += it.low < 0.0 < it.high
        false += it.verdict != "undecided"
        means = {repr(each.params): each.value or 0.0 for each in trials}
        best = {
            norm: max(mean for params, mean in means.items() if norm in params)
            for norm in ("before", "after")
        }
        naive += best["before"] > best["after"]
    assert 945 <= covered <= 980  # 96 % are meant
    assert abs(np.mean(effects)) < 0.06  # its standard error is 0.014
    assert false == 1000 - covered
    assert naive > 800
