import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sweep.spec import space
from sweep.spec.contradictions import MOST_POINTS
from sweep.spec.study import Study, check
from sweep.spec.study_file import compact
from tests.sweep.refused import mistakes
from trainer.config import Config, conflicts
from trainer.reading import read_settings
from trainer.rules import ConfigError, Problem, build, settings

MakeStudy = Callable[..., Study]


def test_a_design_with_endless_values_names_them_all() -> None:
    values = {
        "name": "a",
        "search": {"sampler": "grid"},
        "model": {"dropout": {"low": 0, "high": 0.5}},
        "training": {"learning_rate": {"low": 1e-3, "high": 1, "log": True}},
    }
    rule = "has endless values, which `search.sampler: grid` can't list: give it a step"
    assert mistakes(values) == [f"model.dropout: {rule}", f"training.learning_rate: {rule}"]


def test_a_design_that_is_too_large() -> None:
    values = {
        "name": "a",
        "search": {"sampler": "factorial"},
        "model": {"hidden": [{"low": 1, "high": 1000}, {"low": 1, "high": 1000}]},
    }
    (mistake,) = mistakes(values)
    assert mistake == (
        f"search.sampler: can list at most {MOST_POINTS} combinations of values; here are "
        "1000000, got 'factorial'"
    )


@pytest.mark.parametrize(("sampler", "package"), [("gp", "torch"), ("cmaes", "cmaes")])
def test_a_sampler_whose_package_is_missing(
    monkeypatch: pytest.MonkeyPatch, sampler: str, package: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert mistakes({"name": "a", "search": {"sampler": sampler}}) == [
        f"search.sampler: needs the package {package}, which the extra `{sampler}` installs, "
        f"got '{sampler}'"
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"modle": {}}, "modle: is not a field (did you mean model?)"),
        ({"zzz": 1}, "zzz: is not a field; known here: name, question, data, trainer, model,"),
        ({"model": {"droput": 0.1}}, "model.droput: is not a field (did you mean dropout?)"),
        ({"model": {"dropout": 1.5}}, "model.dropout: must lie in [0, 1), got 1.5"),
        ({"model": {"activation": "rleu"}}, "model.activation: must be one of "),
        ({"model": {"start_from": {"keep": 1}}}, "model.start_from.source: is missing"),
        (
            {"model": {"hidden": [0]}},
            "model.hidden.0: must be at least 1 and at most 1000000, got 0",
        ),
        ({"model": 3}, "model: must be a mapping of fields, got 3"),
        (
            {"model": {"choose": [{}, {}]}},
            "model.choose: is not a field; known here: architecture, hidden,",
        ),
        ({"training": {"choose": [{"epochs": 3}]}}, "training.choose: is not a field;"),
        ({"training": {"epochs": 10**400}}, "training.epochs: must be a whole number, got 1000"),
        (
            {"training": {"learning_rate": {"low": 0, "high": 1, "log": True}}},
            "training.learning_rate.low: must be above 0, got 0",
        ),
        (
            {"model": {"dropout": {"low": 0.5, "high": 0.1}}},
            "model.dropout: low must be below high, got {'low': 0.5, 'high': 0.1}",
        ),
        (
            {"model": {"dropout": {"low": 0, "high": 0.1, "log": True}}},
            "model.dropout: a log range must start above 0, got",
        ),
        ({"replicates": {"low": 1, "high": 3}}, "replicates: must be a whole number, got {'low'"),
        ({"replicates": 0}, "replicates: must be at least 1 and at most 1000, got 0"),
        ({"question": {"choose": ["a"]}}, "question: must be text, got {'choose': ['a']}"),
        ({"data": {"validation": {"choose": [0.1]}}}, "data.validation: must be a number, got"),
        ({"data": {"validation": 1}}, "data.validation: must lie in (0, 1), got 1"),
        ({"data": {"folds": 1}}, "data.folds: must be at least 2, got 1"),
        ({"search": {"trials": 0}}, "search.trials: must be at least 1, got 0"),
        ({"search": {"sampler": "tpee"}}, "search.sampler: must be one of tpe, random, grid,"),
        ({"search": {"pruner": {"asha": {"reduction": 1}}}}, "search.pruner.asha.reduction: must"),
        ({"search": {"timeout": 0}}, "search.timeout: must be above 0, got 0"),
        ({"search": {"worker_seconds": 0}}, "search.worker_seconds: must be above 0, got 0"),
        (
            {"search": {"worker_seconds": 60, "reproducible": True}},
            "search.worker_seconds: must be left out with search.reproducible: it depends on how",
        ),
        (
            {"search": {"timeout": 60, "reproducible": True}},
            "search.timeout: must be left out with search.reproducible",
        ),
        (
            {"objective": {"metric": "predict_seconds"}, "search": {"reproducible": True}},
            "objective.metric: must not be a time with search.reproducible",
        ),
        ({"objective": {"metric": "accuracy"}}, "objective.metric: must be one of val_accuracy"),
        ({"objective": {"direction": "up"}}, "objective.direction: must be one of maximize"),
        ({"resources": {"cpu": 0}}, "resources.cpu: must be at least 0.0001, got 0"),
        (
            {"resources": {"gpu": 1}, "model": {"architecture": {"choose": ["mlp", "cnn"]}}},
            "model.architecture: must be mlp on a GPU: convolutions are trained on processors",
        ),
        ({"model": {"architecture": {"cnn": {"channels": []}}}}, "model.architecture.cnn.channels"),
    ],
)
def test_a_mistake_in_a_study(fields: dict[str, Any], message: str) -> None:
    (mistake,) = mistakes({"name": "a", **fields})
    assert mistake.startswith(message)


def test_all_mistakes_are_told_at_once() -> None:
    assert [
        mistake.partition(":")[0]
        for mistake in mistakes(
            {
                "nmae": "a",
                "model": {"dropout": {"low": 0.5, "high": 0.1}, "init": "zero"},
                "training": {"epochs": 0, "learning_rate": {"choose": []}},
                "search": {"trials": -1},
            }
        )
    ] == [
        "nmae",
        "name",
        "model.init",
        "model.dropout",
        "training.epochs",
        "training.learning_rate.choose",
        "search.trials",
    ]


@pytest.mark.parametrize(
    ("batch_norm", "batch_size"),
    [
        ("before", 1),
        ({"choose": ["none", "after"]}, 1),
        ("after", {"low": 1, "high": 64}),
        ("before", {"choose": [64, 1]}),
        ({"choose": ["none", "before"]}, {"low": 1, "high": 64, "log": True}),
        ({"choose": ["none", {"choose": ["none", "before"]}]}, {"choose": [64, 1]}),
        ({"choose": ["none", {"before": {}}]}, {"choose": [64, {"choose": [32, 1]}]}),
    ],
)
def test_batch_norm_on_batches_of_one_is_found_anywhere(batch_norm: Any, batch_size: Any) -> None:
    values = {
        "name": "a",
        "model": {"batch_norm": batch_norm},
        "training": {"batch_size": batch_size},
    }
    for mistake in mistakes(values):
        assert mistake.startswith("training.batch_size: must be at least 2 with model.batch_norm")


def test_batch_norm_with_larger_batches_is_no_conflict(make_study: MakeStudy) -> None:
    make_study(
        model={"batch_norm": {"choose": ["none", "before", "after"]}},
        training={"batch_size": {"low": 2, "high": 64}},
    )
    make_study(model={"batch_norm": "none"}, training={"batch_size": {"low": 1, "high": 64}})


def nested(options: list[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.sampled_from(options),
        lambda inner: st.lists(inner, min_size=1, max_size=3, unique_by=compact).map(
            lambda given: {"choose": given}
        ),
        max_leaves=6,
    )


@given(nested(["none", "before", "after"]), nested([1, 2, 64]))
@example({"choose": ["none", {"choose": ["none", "before"]}]}, {"choose": [64, 1]})
def test_a_conflict_is_found_wherever_a_combination_has_one(norm: Any, size: Any) -> None:
    values = {"model": {"batch_norm": norm}, "training": {"batch_size": size}}
    problems: list[Problem] = []
    entries = settings(Config)
    template = read_settings(entries, values, "", problems, space.distribution)
    assert not problems
    conflict = any(
        conflicts(build(Config, space.resolve(template, lambda each: cell[each.name])))  # noqa: B023
        for cell in space.cells(template)
    )
    try:
        check({"name": "a", **values})
        found = False
    except ConfigError:
        found = True
    assert found == conflict
