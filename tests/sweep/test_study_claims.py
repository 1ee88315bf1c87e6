"""Claims in a study file: what they may say, and what their mistakes are told as."""

from typing import Any

import pytest

from sweep.spec.claims import Claim
from sweep.spec.study import Study, check
from trainer.rules import ConfigError

MODEL: dict[str, Any] = {
    "activation": {"choose": ["relu", "tanh", {"elu": {"alpha": {"choose": [0.5, 1.0]}}}]},
    "batch_norm": {"choose": ["none", "before", "after"]},
    "dropout": {"low": 0.0, "high": 0.4, "step": 0.1},
    "hidden": {"choose": [[64], [64, 64]]},
}
CLAIM: dict[str, Any] = {
    "name": "after-beats-before",
    "compare": {"model.batch_norm": ["after", "before"]},
    "expect": "after > before",
}


def study(*claims: Any, **fields: Any) -> Study:
    training = {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}}
    return check(
        {"name": "a", "model": MODEL, "training": training, "claims": list(claims), **fields}
    )


def mistakes(*claims: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        study(*claims)
    return str(caught.value).splitlines()


def test_a_claim_as_it_is_read() -> None:
    where = {"model.activation": "relu", "model.dropout": 0}
    other = CLAIM | {
        "name": "other",
        "expect": "before > after",
        "best_over": "model.activation",
    }
    whole = CLAIM | {"where": where, "by": "val_loss", "margin": 0.01}
    assert study(whole, other).claims == (
        Claim(
            "after-beats-before",
            ("model.batch_norm",),
            (("after",), ("before",)),
            {"model.activation": "relu", "model.dropout": 0.0},
            best_over=None,
            larger=True,
            by="val_loss",
            margin=0.01,
        ),
        Claim(
            "other",
            ("model.batch_norm",),
            (("after",), ("before",)),
            {},
            best_over="model.activation",
            larger=False,
            by="val_accuracy",
            margin=0.0,
        ),
    )
    assert str(study(whole).claims[0]) == (
        "val_loss: after > before by 0.01 where model.activation = relu and model.dropout = 0.0"
    )


def test_a_claim_goes_by_the_objective_unless_it_says_otherwise() -> None:
    assert study(CLAIM, objective={"metric": "val_loss"}).claims[0].by == "val_loss"


@pytest.mark.parametrize(
    ("field", "options", "expect", "labels"),
    [
        ("model.dropout", [0.2, 0], "0.2 < 0", (0.2, 0.0)),
        ("model.activation", ["elu", "relu"], "elu>relu", ("elu", "relu")),
        ("model.activation.elu.alpha", [0.5, 1], "1.0 < 0.5", (0.5, 1.0)),
        ("model.hidden", [[64, 64], [64]], "[64, 64] > [64]", ("[64, 64]", "[64]")),
    ],
)
def test_options_of_every_kind(
    field: str, options: list[Any], expect: str, labels: tuple[Any, Any]
) -> None:
    claim = study(CLAIM | {"compare": {field: options}, "expect": expect}).claims[0]
    assert claim.options == ((labels[0],), (labels[1],))


def test_several_fields_may_change_together() -> None:
    compare = {"model.batch_norm": ["after", "none"], "model.hidden": [[64], [64, 64]]}
    claim = study(CLAIM | {"compare": compare, "expect": "none > after"}).claims[0]
    assert claim.fields == ("model.batch_norm", "model.hidden")
    assert claim.options == (("after", "[64]"), ("none", "[64, 64]"))
    assert (str(claim), claim.larger) == ("val_accuracy: after, [64] < none, [64, 64]", False)
    assert claim.side({"model.batch_norm": "none", "model.hidden": "[64, 64]"}) == 1
    assert claim.side({"model.batch_norm": "none", "model.hidden": "[64]"}) is None
    assert claim.side({"model.batch_norm": "none"}) is None


def test_no_claims_are_no_claims() -> None:
    assert check({"name": "a"}).claims == ()
    assert check({"name": "a", "claims": []}).claims == ()


COMPARE = "must name a field with two of its options, or several that change together"
BAD = [
    ({"name": "a b"}, "claims.0.name: must be letters"),
    (
        {"best_over": "model.batch_norm"},
        "claims.0.best_over: must be a field that is neither compared nor held, got "
        "'model.batch_norm'",
    ),
    (
        {"best_over": "model.dropout", "where": {"model.dropout": 0.1}},
        "claims.0.best_over: must be a field that is neither compared nor held",
    ),
    (
        {"best_over": "training.learning_rate"},
        "claims.0.best_over: has endless values, so none of them is the best: give it a step",
    ),
    ({"best_over": "model.dropot"}, "claims.0.best_over: is not a field that is searched (did"),
    ({"name": 1}, "claims.0.name: must be letters"),
    ({"compare": None}, f"claims.0.compare: {COMPARE}, got null"),
    ({"compare": {}}, f"claims.0.compare: {COMPARE}, got {{}}"),
    ({"compare": ["after", "before"]}, f"claims.0.compare: {COMPARE}"),
    (
        {"compare": CLAIM["compare"] | {"model.hidden": [[64], [64]]}},
        "claims.0.compare.model.hidden: must be two different options",
    ),
    (
        {"compare": {"model.batch_nrm": ["after", "before"]}},
        "claims.0.compare.model.batch_nrm: is not a field that is searched "
        "(did you mean model.batch_norm?)",
    ),
    (
        {"compare": {"training.epochs": [9, 27]}},
        "claims.0.compare.training.epochs: is not a field that is searched",
    ),
    (
        {"compare": {"model.batch_norm": "after"}},
        "claims.0.compare.model.batch_norm: must be a list of two options, got 'after'",
    ),
    (
        {"compare": {"model.batch_norm": ["after", "later"]}},
        "claims.0.compare.model.batch_norm: must be an option of the field: none, before, after, "
        "got 'later'",
    ),
    (
        {"compare": {"model.batch_norm": ["after", "after"]}},
        "claims.0.compare.model.batch_norm: must be two different options",
    ),
    (
        {"compare": {"model.dropout": [0.15, 0.0]}},
        "claims.0.compare.model.dropout: must be an option of the field: 0.0, 0.1, 0.2, 0.3, 0.4, "
        "got 0.15",
    ),
    (
        {"compare": {"model.dropout": [False, 0.1]}},
        "claims.0.compare.model.dropout: must be an option of the field",
    ),
    (
        {"compare": {"training.learning_rate": [0.1, 0.01]}},
        "claims.0.compare.training.learning_rate: has endless values",
    ),
    (
        {"where": {"training.learning_rate": 0.1}},
        "claims.0.where.training.learning_rate: has endless values",
    ),
    ({"where": ["relu"]}, "claims.0.where: must be a mapping of fields"),
    (
        {"where": {"model.activation": "gelu"}},
        "claims.0.where.model.activation: must be an option of the field: relu, tanh, elu, "
        "got 'gelu'",
    ),
    ({"where": {"training.epochs": 9}}, "claims.0.where.training.epochs: is not a field that is"),
    (
        {"where": {"model.batch_norm": "none"}},
        "claims.0.where.model.batch_norm: is what is compared",
    ),
    (
        {"expect": "after > none"},
        "claims.0.expect: must be `after > before` or `after < before`, got 'after > none'",
    ),
    ({"expect": "after >= before"}, "claims.0.expect: must be `after > before`"),
    ({"expect": "__import__('os') > before"}, "claims.0.expect: must be `after > before`"),
    ({"expect": "{ > ["}, "claims.0.expect: must be `after > before`"),
    ({"expect": None}, "claims.0.expect: must be text, got null"),
    ({"by": "accuracy"}, "claims.0.by: must be one of val_accuracy"),
    ({"margin": -0.1}, "claims.0.margin: must be at least 0, got -0.1"),
    ({"bye": 1}, "claims.0.bye: is not a field (did you mean by?)"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_mistake_is_told_with_its_path(change: dict[str, Any], message: str) -> None:
    (told,) = mistakes(CLAIM | change)
    assert told.startswith(message)


def test_all_mistakes_are_told_at_once() -> None:
    told = mistakes(CLAIM, CLAIM | {"by": "loss"}, {"name": "b"})
    assert [each.partition(":")[0] for each in told] == [
        "claims.1.by",
        "claims.2.compare",
        "claims.2.expect",
    ]
    assert mistakes(CLAIM, CLAIM) == [
        "claims.1.name: is the name of an earlier claim, got 'after-beats-before'"
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"search": {"looks": 4}}, "search.looks: must be at least 1 and at most 3, got 4"),
        ({"search": {"looks": 2}}, "search.looks: must be 1 unless search.sampler is grid or"),
        (
            {"search": {"looks": 2, "sampler": "factorial"}, "data": {"folds": 5}},
            "search.looks: must be 1 with data.folds",
        ),
        (
            {"search": {"looks": 2, "sampler": "factorial", "trials": 2}},
            "search.looks: must be 1 unless search.trials is at least the 3 combinations, got 2",
        ),
    ],
)
def test_what_cannot_be_looked_at_again(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check({"name": "a", "model": {"batch_norm": MODEL["batch_norm"]}} | fields)
    assert str(caught.value).startswith(message)


def test_a_factorial_design_is_not_pruned_unless_it_is_said() -> None:
    listed = {"name": "a", "model": {"batch_norm": {"choose": ["none", "after"]}}}

    def pruner(**search: Any) -> str:
        return str(check(listed | {"search": search}).search.pruner.name)

    assert pruner(sampler="factorial") == "none"
    assert pruner(sampler="factorial", pruner="median") == "median"
    assert pruner(sampler="grid") == "asha"
