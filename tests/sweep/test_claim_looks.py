"""Claims that are looked at up to three times."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from sweep.answers.claims import findings
from sweep.answers.intervals import ERROR, SPENT, interval
from sweep.answers.results import Results
from sweep.spec.study import check
from tests.sweep.designs import Value, asked, designed, found, noise, planted, trial


def looked(looks: int, *values: Value, **fields: Any) -> Results:
    """A study with so many looks, whose trials have run for as many as there are values."""
    study = designed(search={"looks": looks}, replicates=5, **fields)
    trials = []
    for number, params in enumerate(asked(study)):
        if study.look_of(number) < len(values):
            value = values[study.look_of(number)]
            found = [value(params, each) for each in study.replicates_of(number)]
            trials.append(trial(number, params, found))
    return Results(study, "finished", trials, [], None)


def unclear(params: Mapping[str, Any], replicate: int) -> float:
    return 0.3 * float(params["model.batch_norm"] == "after") + noise(params, replicate)


def test_every_look_doubles_the_replicates() -> None:
    study = designed(search={"looks": 3}, replicates=5)
    assert study.target == 36
    cells = list(asked(study))
    assert cells[:12] == cells[12:24] == cells[24:]
    assert [study.replicates_of(number) for number in (0, 11, 12, 23, 24, 35)] == [
        range(5),
        range(5),
        range(5, 10),
        range(5, 10),
        range(10, 20),
        range(10, 20),
    ]


def test_a_look_judges_all_replicates_so_far_with_its_own_share_of_the_error() -> None:
    one, two = (found(looked(3, *[unclear] * count)) for count in (1, 2))
    assert (one.look, one.replicates, one.confidence) == (1, 5, 0.96)
    assert (two.look, two.replicates, two.confidence) == (2, 10, 0.995)
    results = looked(3, unclear, unclear)
    sides: dict[str, list[list[float]]] = {"after": [], "before": []}
    for each in results.trials:
        if each.params["model.batch_norm"] in sides:
            sides[each.params["model.batch_norm"]].append([x or 0.0 for x in each.values])
    means = {name: np.array(rows).reshape(2, 4, 5).mean(axis=1) for name, rows in sides.items()}
    blocks = (means["after"] - means["before"]).ravel()
    expected = interval(blocks, error=0.005)
    assert (two.effect, two.low, two.high) == pytest.approx(tuple(map(float, expected)))


def test_a_look_that_is_not_over_changes_nothing() -> None:
    whole = found(looked(2, unclear))
    results = looked(2, unclear, unclear)
    compared = [each for each in results.trials if each.params["model.batch_norm"] == "after"]
    results.trials.remove(compared[-1])
    assert found(results) == whole


def test_the_first_verdict_stands() -> None:
    def other(params: Mapping[str, Any], replicate: int) -> float:
        return 100 * noise(params, replicate)

    once = found(looked(2, planted))
    assert once.verdict == "supported"
    assert found(looked(2, planted, other)) == once


def test_without_an_effect_few_claims_are_decided_wrongly_at_any_of_three_looks() -> None:
    """The same thresholds as in `findings`, for families of ten claims at 5, 10 and 20 blocks."""
    blocks = np.random.default_rng(8).standard_normal((1000, 10, 20))
    wrong = np.zeros(1000, bool)
    for count, share in zip((5, 10, 20), SPENT, strict=True):
        at = interval(blocks[..., :count], error=ERROR * share / 10)
        wrong |= ((at.low > 0) | (at.high < 0)).any(axis=1)
    assert 0 < wrong.sum() <= 50
    assert sum(SPENT) <= 1


RATES = [round(0.01 * number, 2) for number in range(1, 12)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_families_of_ten_claims_through_trials_with_as_many_looks_as_are_open() -> None:
    """A thousand studies in which nothing differs, at 5, 10 and 20 replicates, as with --decide.

    Ten options against the same eleventh. `findings` judges look by look; the first verdict stands.
    """
    claims = [
        {
            "name": f"claim-{number}",
            "compare": {"training.learning_rate": [rate, RATES[-1]]},
            "expect": f"{rate} > {RATES[-1]}",
        }
        for number, rate in enumerate(RATES[:-1])
    ]
    study = check(
        {
            "name": "a",
            "training": {"learning_rate": {"choose": RATES}},
            "claims": claims,
            "replicates": 5,
            "search": {"sampler": "factorial", "trials": len(RATES), "looks": 3},
        }
    )
    cells = list(asked(study))
    random = np.random.default_rng(11)
    wrong = covered = 0
    for _ in range(1000):
        drawn = random.standard_normal((len(RATES), 20))
        trials = []
        for number, params in enumerate(cells):
            own = drawn[RATES.index(float(params["training.learning_rate"]))]
            values = own[list(study.replicates_of(number))].tolist()
            trials.append(trial(number, params, values))
        found = findings(Results(study, "finished", trials, [], None))
        assert all(each.look == 3 or each.verdict != "undecided" for each in found)
        wrong += any(each.verdict != "undecided" for each in found)
        covered += all((each.low or 0) <= 0 <= (each.high or 0) for each in found)
    assert 0 < wrong <= 50
    assert covered == 1000 - wrong
