from dataclasses import replace
from typing import Any

import pytest

from sweep.answers.advice import advise
from sweep.answers.results import Results, TrialResult
from sweep.spec.study import check
from sweep.spec.study_file import parse

STUDY: dict[str, Any] = {
    "name": "made",
    "model": {
        "activation": {"choose": ["relu", "tanh", {"elu": {"alpha": {"low": 0.1, "high": 2.0}}}]},
        "hidden": [8],
    },
    "training": {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}},
}


def results(rates: list[float], diagnosis: tuple[str, ...] = (), **more: Any) -> Results:
    """Trials in the order of their rank; ReLU but for every second of the worse half."""
    study = check(STUDY | more)
    trials = []
    for number, rate in enumerate(rates):
        worse = number >= len(rates) // 2 and number % 2
        params = {
            "model.activation": "tanh" if worse else "relu",
            "training.learning_rate": rate,
        }
        trials.append(
            TrialResult(
                number,
                "complete",
                None,
                params,
                1 - number / 100,
                [],
                9,
                1.0,
                None,
                {},
                {},
                [*diagnosis],
                [1 - number / 100],
                [],
            )
        )
    return Results(study, "finished", trials, [], None)


def next_study(found: Results) -> tuple[str, Any]:
    text = advise(found)
    values = parse(text, "next")
    return text, check(values).values


@pytest.mark.parametrize(
    ("best", "low", "high", "word"),
    [
        (0.095, 0.01, 1.0, "upper"),
        (0.0011, 0.0001, 0.01, "lower"),
        (0.01, 0.00631, 0.0158, "narrowed"),
    ],
)
def test_a_range_is_moved_or_narrowed(best: float, low: float, high: float, word: str) -> None:
    text, values = next_study(results([best] * 4 + [0.03] * 12))
    assert values["training"]["learning_rate"] == {"low": low, "high": high, "log": True}
    assert word in text
    assert values["name"] == "made-next"


def test_an_option_goes_only_if_it_was_tried_and_did_badly() -> None:
    _, values = next_study(results([0.01] * 16))
    assert values["model"]["activation"]["choose"] == [
        "relu",
        STUDY["model"]["activation"]["choose"][2],
    ]


def test_an_illness_of_the_best_adds_a_field() -> None:
    said = "fits train (0.999), not validation (0.900): regularise"
    text, values = next_study(results([0.01] * 8, (said,)))
    assert values["model"]["dropout"] == {"choose": [0.0, 0.2, 0.5]}
    assert said in text.replace("\n#  ", "")
    _, healthy = next_study(results([0.01] * 8))
    assert "dropout" not in healthy["model"]


def test_a_design_is_run_whole_and_claims_stay_behind() -> None:
    model = {"activation": {"choose": ["relu", "tanh"]}, "hidden": [8]}
    claim = {
        "name": "c",
        "compare": {"model.activation": ["relu", "tanh"]},
        "expect": "relu > tanh",
    }
    made = results(
        [0.01] * 4,
        ("dead: 60 % of layer 1 is dead; regularise",),
        model=model,
        training={"learning_rate": 0.01},
        search={"sampler": "factorial", "trials": 2, "looks": 1},
        claims=[claim],
    )
    _, values = next_study(made)
    assert "claims" not in values
    assert values["search"]["trials"] == 6


def test_an_option_that_is_left_alone_is_a_value() -> None:
    model = {"activation": {"choose": ["relu", "tanh"]}, "hidden": [8]}
    _, values = next_study(results([0.01] * 16, model=model))
    assert values["model"]["activation"] == "relu"


def test_where_nothing_stands_out_there_are_more_replicates() -> None:
    rate = {"choose": [0.01, 0.02]}
    made = results([0.01, 0.02], training={"learning_rate": rate}, replicates=3)
    text, values = next_study(made)
    assert values["replicates"] == 6
    assert "replicates: nothing stands out" in text
    folds = results([0.01, 0.02], training={"learning_rate": rate}, data={"folds": 3})
    text, values = next_study(folds)
    assert values.get("replicates") in (None, 3)  # each is a fold
    assert "the same study again" in text


def test_no_complete_trial_is_refused() -> None:
    made = results([0.01])
    with pytest.raises(ValueError, match="no trial of 'made' has completed"):
        advise(replace(made, trials=[replace(made.trials[0], state="pruned")]))
