"""What is found about claims, from trials whose values are known."""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sweep.answers import claims_table
from sweep.answers.claims import Finding, findings
from sweep.answers.intervals import ERROR, SPENT, interval
from sweep.answers.results import Results, TrialResult, finite
from sweep.search.samplers import make
from sweep.spec.study import Study, check

MODEL: dict[str, Any] = {
    "activation": {"choose": ["relu", "tanh", {"elu": {"alpha": {"choose": [0.5, 1.0]}}}]},
    "batch_norm": {"choose": ["none", "before", "after"]},
}
CLAIM: dict[str, Any] = {
    "name": "after-beats-before",
    "compare": {"model.batch_norm": ["after", "before"]},
    "expect": "after > before",
}

Value = Callable[[Mapping[str, Any], int], float]
"""The value of a configuration in a replicate."""


def designed(*claims: Any, replicates: int = 6, **fields: Any) -> Study:
    search = {"sampler": "factorial", "trials": 100} | fields.pop("search", {})
    return check(
        {
            "name": "a",
            "model": MODEL,
            "claims": list(claims) or [CLAIM],
            "replicates": replicates,
            "search": search,
            **fields,
        }
    )


def trial(number: int, params: dict[str, Any], values: list[float], **more: Any) -> TrialResult:
    known = [finite(each) for each in values]
    given: dict[str, Any] = {
        "state": "complete",
        "reason": None,
        "violated": [],
        "parent": None,
    } | more
    mean = finite(sum(values) / len(values))
    return TrialResult(
        number=number,
        params=params,
        value=mean,
        scores=[mean],
        values=known,
        epoch=27,
        seconds=1.0,
        mlflow_run_id=None,
        metrics={"val_accuracy": known, "val_loss": [None if x is None else -x for x in known]},
        environment={},
        diagnosis=[],
        **given,
    )


def asked(study: Study) -> Iterator[dict[str, Any]]:
    sampler = make(study, [])
    for number in range(study.target):
        params = sampler.ask(number)
        assert params is not None
        yield params


def ran(study: Study, value: Value) -> Results:
    trials = [
        trial(number, params, [value(params, each) for each in range(study.replicates)])
        for number, params in enumerate(asked(study))
    ]
    return Results(study, "finished", trials, [], None)


def noise(params: Mapping[str, Any], replicate: int) -> float:
    """Some number that depends on the configuration and the replicate."""
    seed = [*repr(sorted(params.items())).encode(), replicate]
    return float(np.random.default_rng(seed).standard_normal())


def planted(params: Mapping[str, Any], replicate: int) -> float:
    """After the activation is better by 0.1 than before it; seeds differ by far more."""
    effect = {"none": -0.2, "before": 0.0, "after": 0.1}[params["model.batch_norm"]]
    return effect + 10.0 * math.sin(replicate) + 0.01 * noise(params, replicate)


def found(results: Results) -> Finding:
    (only,) = findings(results)
    return only


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
        "the design has no configurations that differ in this field alone"
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


def diverged_at(results: Results, option: str, gone: int) -> None:
    """Of each trial with an option `gone` replicates diverge, which cuts the others short."""
    for number, each in enumerate(results.trials):
        if each.params["model.batch_norm"] != option:
            continue
        count = len(each.values)
        ended = trial(number, each.params, [0.1] * gone + [0.5] * (count - gone), state="pruned")
        losses: list[float | None] = [*[None] * gone, *[2.0] * (count - gone)]
        metrics = ended.metrics | {"val_loss": losses, "train_loss": losses}
        results.trials[number] = replace(ended, reason="diverged at epoch 3", metrics=metrics)


def near(params: Mapping[str, Any], replicate: int) -> float:
    return 0.9 + 0.01 * noise(params, replicate)


def test_a_trial_in_which_every_replicate_diverged_counts_as_guessing() -> None:
    results = ran(designed(), near)
    diverged_at(results, "before", 6)
    it = found(results)
    assert (it.verdict, it.diverged) == ("supported", 4)
    assert it.effect == pytest.approx(0.8, abs=0.02)
    assert "In a trial that diverged (up to 4 a claim)" in claims_table.note([it])
    by_loss = found(replace(results, study=designed(CLAIM | {"by": "val_loss"})))
    assert by_loss.verdict == "undecided"
    assert "diverged at epoch 3, and a loss has no mean" in (by_loss.reason or "")


def test_what_cut_replicates_would_have_come_to_is_left_open() -> None:
    """The interval covers every filling of the gaps, so it decides only what none of them turns."""
    results = ran(designed(), near)
    diverged_at(results, "before", 2)
    it = found(results)
    assert it.low is not None
    assert it.high is not None
    assert it.verdict == "undecided"
    assert it.more_replicates is None
    for filled in (0.0, 0.5, 1.0):
        sides = {
            option: [
                [0.1, 0.1, *[filled] * 4] if option == "before" else each.values
                for each in results.trials
                if each.params["model.batch_norm"] == option
            ]
            for option in ("after", "before")
        }
        means = {option: np.array(rows, float).mean(axis=0) for option, rows in sides.items()}
        known = interval(means["after"] - means["before"], error=0.04)
        assert it.low - 1e-9 <= known.low
        assert it.high + 1e-9 >= known.high
    far = found(replace(results, study=designed(CLAIM | {"margin": 2.0})))
    assert far.verdict == "refuted"  # whatever the gaps held


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
