"""What is found about claims, from trials whose values are known."""

import itertools
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from sweep.answers import claims_table
from sweep.answers.claims import findings
from sweep.answers.intervals import ERROR, interval
from sweep.answers.results import Results
from sweep.spec.study import check
from tests.sweep.designs import CLAIM, asked, designed, found, noise, planted, ran, trial


def test_a_planted_truth_comes_out() -> None:
    it = found(ran(designed(), planted))
    assert it.verdict == "supported"
    assert it.effect == pytest.approx(0.1, abs=0.01)
    assert it.low is not None
    assert it.high is not None
    assert it.low < 0.1 < it.high
    assert (it.pairs, it.replicates, it.confidence) == (4, 6, 1 - 0.8 * ERROR)
    assert (it.reason, it.more_replicates) == (None, None)
    assert it.covers == "seeds on this split"


def test_the_effect_is_the_mean_over_matched_pairs_with_replicates_as_blocks() -> None:
    study = designed(CLAIM | {"where": {"model.activation": "elu"}})
    results = ran(study, noise)
    values = {tuple(sorted(each.params.items())): each.values for each in results.trials}

    def side(norm: str, alpha: float) -> np.ndarray:
        key = {
            "model.activation": "elu",
            "model.activation.elu.alpha": alpha,
            "model.batch_norm": norm,
        }
        return np.array(values[tuple(sorted(key.items()))], dtype=float)

    blocks = sum(side("after", alpha) - side("before", alpha) for alpha in (0.5, 1.0)) / 2
    expected = interval(blocks, error=0.04)
    it = found(results)
    assert (it.effect, it.low, it.high) == pytest.approx(tuple(map(float, expected)))
    assert it.pairs == 2


def test_a_parameter_of_one_option_alone_belongs_to_that_option() -> None:
    claim = CLAIM | {"compare": {"model.activation": ["elu", "relu"]}, "expect": "elu > relu"}

    def value(params: Mapping[str, Any], replicate: int) -> float:
        alpha = params.get("model.activation.elu.alpha")
        return (alpha or 0.0) + 0.001 * noise(params, replicate)

    it = found(ran(designed(claim), value))
    assert it.pairs == 3  # one for each place of the batch norm
    assert it.effect == pytest.approx(0.75, abs=0.01)


def test_fields_that_change_together() -> None:
    compare = {"model.batch_norm": ["after", "before"], "model.activation": ["tanh", "relu"]}

    def value(params: Mapping[str, Any], replicate: int) -> float:
        return planted(params, replicate) + 0.3 * float(params["model.activation"] == "tanh")

    it = found(ran(designed(CLAIM | {"compare": compare}), value))
    assert (it.pairs, it.verdict) == (1, "supported")
    assert it.effect == pytest.approx(0.4, abs=0.02)
    assert it.difference == "val_accuracy: after, tanh − before, relu"


@pytest.mark.parametrize(
    ("compare", "expect", "by", "said", "sign"),
    [
        (["after", "before"], "after > before", "val_accuracy", "supported", 1),
        (["after", "before"], "before < after", "val_accuracy", "supported", 1),
        (["after", "before"], "before > after", "val_accuracy", "refuted", 1),
        (["before", "after"], "after > before", "val_accuracy", "supported", -1),
        (["before", "after"], "after < before", "val_accuracy", "refuted", -1),
        (["after", "before"], "after < before", "val_loss", "supported", -1),
        (["after", "before"], "after > before", "val_loss", "refuted", -1),
    ],
)
def test_directions(compare: list[str], expect: str, by: str, said: str, sign: int) -> None:
    claim = CLAIM | {"compare": {"model.batch_norm": compare}, "expect": expect, "by": by}
    it = found(ran(designed(claim), planted))
    assert it.verdict == said
    assert it.effect == pytest.approx(sign * 0.1, abs=0.01)


@pytest.mark.parametrize(
    ("expect", "margin", "said"),
    [
        ("after > before", 0.05, "supported"),
        ("after > before", 0.2, "refuted"),
        ("after < before", 0.05, "refuted"),
        ("after > before", 0.1, "undecided"),
    ],
)
def test_an_effect_must_exceed_the_margin(expect: str, margin: float, said: str) -> None:
    claim = CLAIM | {"expect": expect, "margin": margin}
    assert found(ran(designed(claim), planted)).verdict == said


def test_a_margin_works_downwards_too() -> None:
    claim = CLAIM | {"expect": "before < after"}  # the same as after > before
    assert found(ran(designed(claim | {"margin": 0.05}), planted)).verdict == "supported"
    loss = CLAIM | {"expect": "after < before", "by": "val_loss"}
    assert found(ran(designed(loss | {"margin": 0.05}), planted)).verdict == "supported"
    assert found(ran(designed(loss | {"margin": 0.2}), planted)).verdict == "refuted"


def test_under_five_replicates_nothing_is_decided() -> None:
    it = found(ran(designed(replicates=4), planted))
    assert it.verdict == "undecided"
    assert it.reason == "a verdict takes at least 5 replicates"
    assert it.more_replicates == 1
    assert it.low is not None
    single = found(ran(designed(replicates=1), planted))
    assert (single.low, single.more_replicates) == (None, None)
    assert single.effect == pytest.approx(0.1, abs=0.01)


def test_nothing_found_says_so_and_how_many_replicates_would_decide() -> None:
    def value(params: Mapping[str, Any], replicate: int) -> float:
        effect = 0.6 if params["model.batch_norm"] == "after" else 0.0
        return effect + noise(params, replicate)

    study = designed()
    it = found(ran(study, value))
    assert it.verdict == "undecided"
    assert it.reason == "the interval reaches across 0"
    assert it.more_replicates is not None
    assert it.more_replicates > 0


def test_more_claims_make_wider_intervals() -> None:
    alone = found(ran(designed(), planted))
    many = [CLAIM | {"name": f"claim-{index}"} for index in range(10)]
    first = findings(ran(designed(*many), planted))[0]
    assert first.confidence == pytest.approx(0.996)
    assert first.low is not None
    assert alone.low is not None
    assert first.low < alone.low


def test_folds_widen_the_interval_and_generalise_to_splits() -> None:
    seeds = found(ran(designed(replicates=5), planted))
    study = check(dict(designed().values) | {"data": {"folds": 5}, "replicates": 5})
    folds = found(ran(study, planted))
    assert None not in (seeds.low, seeds.high, folds.low, folds.high)
    width = (folds.high or 0) - (folds.low or 0)
    assert width == pytest.approx(1.5 * ((seeds.high or 0) - (seeds.low or 0)))  # √(1 + 5/4)
    assert folds.covers == "seeds and splits (5 folds)"


def without_a_verdict(results: Results) -> str:
    it = found(results)
    assert it.verdict == "undecided"
    assert (it.effect, it.low, it.high, it.more_replicates) == (None, None, None, None)
    assert it.reason is not None
    return it.reason


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_sample_skewed_by_its_results_is_refused(sampler: str) -> None:
    study = designed(search={"sampler": sampler})
    cells = list(asked(designed()))
    trials = [trial(n, cell, [planted(cell, r) for r in range(6)]) for n, cell in enumerate(cells)]
    reason = without_a_verdict(Results(study, "finished", trials, [], None))
    assert (
        reason == f"the sampler {sampler} chose trials by their results, which skews a comparison"
    )


def test_a_design_that_was_cut_is_refused() -> None:
    assert without_a_verdict(ran(designed(search={"trials": 9}), planted)) == (
        "only 3 of 4 matched configurations have all their results; 2 trials are yet to be trained"
    )


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ({"state": "pruned", "reason": "asha at epoch 3"}, "is pruned: asha at epoch 3"),
        ({"state": "failed", "reason": "lost"}, "is failed: lost"),
        ({"values": [math.nan] * 6}, "is complete: no finite val_accuracy in every replicate"),
    ],
)
def test_a_trial_without_a_result_unbalances_the_comparison(
    ending: dict[str, Any], words: str
) -> None:
    results = ran(designed(), planted)
    number = next(
        each.number for each in results.trials if each.params["model.batch_norm"] == "after"
    )
    old = results.trials[number]
    values = [x or 0.0 for x in old.values]
    results.trials[number] = trial(number, old.params, **({"values": values} | ending))
    assert without_a_verdict(results).endswith(f"; trial {number} {words}")


def test_a_trial_that_no_claim_compares_may_be_missing() -> None:
    results = ran(designed(), planted)
    kept = [each for each in results.trials if each.params["model.batch_norm"] != "none"]
    assert found(Results(results.study, "finished", kept, [], None)).verdict == "supported"


def test_endless_values_have_no_matched_configurations() -> None:
    training = {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}}
    study = designed(search={"sampler": "random", "trials": 20}, training=training)
    assert without_a_verdict(ran(study, planted)) == (
        "training.learning_rate has endless values, so configurations are not matched"
    )


def test_a_held_value_that_never_meets_the_options() -> None:
    claim = CLAIM | {"where": {"model.activation": "relu", "model.activation.elu.alpha": 0.5}}
    assert without_a_verdict(ran(designed(claim), planted)) == (
        "the design has no configurations that differ in what is compared alone"
    )


def test_times_are_no_blocks() -> None:
    assert "measured for all replicates together" in without_a_verdict(
        ran(designed(CLAIM | {"by": "epoch_seconds"}), planted)
    )


def test_budgets_are_a_field_like_others() -> None:
    """Configurations are matched at equal budgets, unless budgets are what is compared."""
    claim = {"name": "longer", "compare": {"training.epochs": [9, 3]}, "expect": "9 > 3"}
    study = designed(CLAIM, claim, training={"epochs": {"choose": [3, 9]}})

    def value(params: Mapping[str, Any], replicate: int) -> float:
        return 5.0 * float(params["training.epochs"]) + planted(params, replicate)

    norm, budget = findings(ran(study, value))
    assert norm.effect == pytest.approx(0.1, abs=0.01)
    assert budget.effect == pytest.approx(30, abs=0.01)
    assert (norm.pairs, budget.pairs) == (8, 12)
    assert (norm.verdict, budget.verdict) == ("supported", "supported")


def test_a_study_of_a_thousand_families_through_trials() -> None:
    """Families of six claims on three options, from trials to verdicts: no effect, few false."""
    pairs = itertools.permutations(["none", "before", "after"], 2)
    claims = [
        {
            "name": f"{a}-{b}",
            "compare": {"model.batch_norm": [a, b]},
            "expect": f"{a} > {b}",
        }
        for a, b in pairs
    ]
    study = check(
        {
            "name": "a",
            "model": {"batch_norm": {"choose": ["none", "before", "after"]}},
            "claims": claims,
            "replicates": 5,
            "search": {"sampler": "factorial", "trials": 3},
        }
    )
    cells = list(asked(study))
    random = np.random.default_rng(0)
    false = 0
    for _ in range(1000):
        drawn = iter(random.standard_normal((3, 5)).tolist())
        trials = [trial(n, params, next(drawn)) for n, params in enumerate(cells)]
        verdicts = {each.verdict for each in findings(Results(study, "finished", trials, [], None))}
        false += verdicts != {"undecided"}
    assert 0 < false <= 50


def test_json_and_the_table() -> None:
    results = ran(designed(CLAIM, CLAIM | {"name": "b", "by": "predict_seconds"}), planted)
    plain = json.loads(json.dumps([each.as_json() for each in findings(results)]))
    assert {"name", "effect", "low", "high", "pairs", "verdict"} <= set(plain[0])
    assert [each["verdict"] for each in plain] == ["supported", "undecided"]
    first, second = claims_table.rows(findings(results))
    assert first[0] == "after-beats-before (val_accuracy: after > before)"
    assert first[1].startswith("+0.")
    assert first[3:] == ["4", "supported"]
    assert second[1:3] == ["–", "–"]
    assert claims_table.note(findings(results)).endswith("for seeds on this split.")
