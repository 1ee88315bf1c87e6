"""Diagnoses of trials, counted by group."""

from typing import Any

from sweep.answers.diagnoses import ILLS, groups, table
from sweep.answers.results import Results, TrialResult
from sweep.spec.study import check
from trainer.diagnosis import diagnose

STUDY = check(
    {
        "name": "a",
        "model": {
            "activation": {"choose": ["sigmoid", "relu"]},
            "dropout": {"low": 0.0, "high": 0.4, "step": 0.2},
        },
    }
)


def trial(number: int, activation: str, *diagnosis: str, **more: Any) -> TrialResult:
    params = {"model.activation": activation, "model.dropout": 0.2}
    given: dict[str, Any] = {"state": "complete", "reason": None, "epoch": 3} | more
    return TrialResult(
        number=number,
        params=params,
        value=None,
        values=[],
        seconds=None,
        mlflow_run_id=None,
        metrics={},
        environment={},
        scores=[],
        violated=[],
        diagnosis=list(diagnosis),
        **given,
    )


def made(*trials: TrialResult) -> Results:
    return Results(STUDY, "finished", list(trials), [], None)


def test_who_falls_ill_with_what_and_in_which_layers() -> None:
    found = groups(
        made(
            trial(0, "sigmoid", "vanishing gradients: layer 1 gets 1e-06 of the top layer's"),
            trial(1, "sigmoid", "60 % of layer 3 is saturated", "70 % of layer 1 is saturated"),
            trial(2, "sigmoid", "60 % of layer 2 is saturated"),
            trial(3, "relu", "100 % of layer 1 is dead", "90 % of layer 3 is dead"),
            trial(4, "relu", state="pruned", reason="diverged at epoch 2"),
            trial(5, "relu"),
            trial(6, "relu", epoch=0, state="waiting"),
        )
    )
    assert [(each.field, each.option, each.trials) for each in found] == [
        ("model.activation", "sigmoid", 3),
        ("model.activation", "relu", 3),
    ]
    assert table(found) == (
        [
            "field",
            "option",
            "trials",
            "gradients vanish",
            "units die",
            "units saturate",
            "diverges",
        ],
        [
            ["model.activation", "sigmoid", "3", "1", "–", "2 (layers 1-3)", "–"],
            ["model.activation", "relu", "3", "–", "1 (layers 1, 3)", "–", "1"],
        ],
    )


def test_a_field_that_a_claim_compares_is_counted_though_it_is_a_range() -> None:
    claim = {"name": "c", "compare": {"model.dropout": [0.2, 0.0]}, "expect": "0.2 > 0.0"}
    study = check(dict(STUDY.values) | {"claims": [claim]})
    ill = trial(0, "relu", "fits train (0.990), not validation (0.900): regularise")
    found = groups(Results(study, "finished", [ill], [], None))
    assert [(each.field, each.option) for each in found][-1] == ("model.dropout", "0.2")
    assert found[-1].ills == {"overfits": 1}


def test_every_illness_that_a_diagnosis_can_name_is_counted() -> None:
    figures = {f"health/gradient_norm_{layer}": norm for layer, norm in ((1, 1e-9), (2, 1e4))}
    figures |= {"health/dead_1": 0.5, "health/saturated_2": 0.9, "health/variance_ratio_1": 0.4}
    said = [
        *diagnose(figures),
        *diagnose({"health/gradient_norm_1": 1e-9, "health/gradient_norm_2": 1.0}),
        *diagnose({"train_accuracy": 0.9, "val_accuracy": 0.1}),
        *diagnose({"train_accuracy": 0.1, "val_accuracy": 0.1}),
    ]
    (group,) = groups(made(trial(0, "relu", *said, reason="diverged at epoch 1")))
    assert list(group.ills) == list(ILLS)


def test_no_table_where_nobody_is_ill() -> None:
    assert table(groups(made(trial(0, "relu")))) is None
