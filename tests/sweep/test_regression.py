"""Studies of numbers to predict: what follows from `data.task`, and what does not go with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.answers.claims import Finding
from sweep.answers.claims_table import note
from sweep.answers.sensitivity import measured
from sweep.datasets import Datasets
from sweep.recording.pictures import CurvePainter
from sweep.recording.records import Epochs
from sweep.spec.study import Study, check
from trainer.config import Config
from trainer.rules import ConfigError, build
from trainer.tasks import REGRESSION
from trainer.training import train

DATA = {"source": "diabetes", "task": "regression"}


def study(**fields: Any) -> Study:
    return check({"name": "a", "data": DATA} | fields)


def mistakes(**fields: Any) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        Datasets(study(**fields))
    return [str(each) for each in raised.value.problems]


def test_loss_and_objective_follow_from_the_task() -> None:
    made = study(model={"dropout": {"low": 0.0, "high": 0.5}}, training={"epochs": 3})
    assert made.first_config()["training"]["loss"] == "mean_squared_error"
    assert (made.metric, made.maximize, made.score) == ("val_r2", True, "r2")
    assert "loss" not in made.text
    several = study(objective=[{}, {"metric": "parameters"}])
    assert [each.name for each in several.objectives] == ["val_r2", "parameters"]
    assert study(objective={"metric": "val_loss"}).directions == ("minimize",)
    assert check({"name": "a"}).score == "accuracy"
    data = Datasets(made).data(made.first_config())
    assert (data.task, data.outputs, data.classes) == (REGRESSION, 1, 0)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"data": {"source": "diabetes"}},
            ["data.source: diabetes: has numbers to predict, which need data.task: regression"],
        ),
        (
            {"training": {"loss": "cross_entropy"}},
            [
                "training.loss: must be mean_squared_error with data.task regression, "
                "got 'cross_entropy'"
            ],
        ),
        (
            {"data": {}, "training": {"loss": {"choose": ["cross_entropy", "mean_squared_error"]}}},
            [
                "training.loss: must be cross_entropy or binary_cross_entropy or squared_error "
                "with data.task classification, got 'mean_squared_error'"
            ],
        ),
        (
            {"training": {"label_smoothing": {"low": 0.0, "high": 0.1}, "per_class": 4}},
            [
                "training.per_class: must be left out with training.loss mean_squared_error: "
                "there are no classes, got 4",
                "training.label_smoothing: must be 0 with training.loss mean_squared_error: "
                "there are no labels, got 0.1",
            ],
        ),
        (
            {
                "objective": {"metric": "val_accuracy"},
                "constraints": ["parameters <= 9", "train_accuracy >= 0.5"],
                "model": {"init": {"choose": ["he_normal", "normal"]}},
                "claims": [
                    {
                        "name": "b",
                        "compare": {"model.init": ["he_normal", "normal"]},
                        "expect": "he_normal > normal",
                        "by": "val_accuracy",
                    }
                ],
            },
            [
                "objective.metric: must be val_r2 or a loss with data.task regression, "
                "got 'val_accuracy'",
                "constraints.1: must be train_r2 or a loss with data.task regression, "
                "got 'train_accuracy'",
                "claims.0.by: must be val_r2 or a loss with data.task regression, "
                "got 'val_accuracy'",
            ],
        ),
        (
            {"data": {"source": "digits"}, "objective": {"metric": "val_r2"}},
            [
                "objective.metric: must be val_accuracy or a loss with data.task classification, "
                "got 'val_r2'"
            ],
        ),
        (
            {"data": DATA | {"classes": [1, 2]}},
            ["data.classes: must be left out with data.task regression"],
        ),
        (
            {"trainer": "examples.pytorch:Perceptrons"},
            ["data.task: must be classification with trainer, got 'regression'"],
        ),
        (
            {"resources": {"gpu": 1}},
            [
                "training.loss: must be of classes on a GPU: regression is trained on processors "
                "alone, got 'mean_squared_error'"
            ],
        ),
        (
            {"data": {"task": "regresion"}},
            [
                "data.task: must be one of classification, regression (did you mean regression?), "
                "got 'regresion'"
            ],
        ),
    ],
)
def test_what_does_not_go_with_the_task(fields: dict[str, Any], told: list[str]) -> None:
    assert sorted(mistakes(**fields)) == sorted(told)


@pytest.mark.parametrize(
    ("preprocess", "most"),
    [
        ({"pca": {"components": 12}}, 12),
        ({"choose": ["none", {"pca": {"components": {"low": 2, "high": 11}}}]}, 11),
        ({"choose": ["zca", {"pca": {"components": {"choose": [3, 40, 5]}}}]}, 40),
    ],
)
def test_more_directions_than_the_data_have_are_refused_at_once(preprocess: Any, most: int) -> None:
    rule = "must be at most 10, the directions in which the training rows vary"
    told = f"data.preprocess.pca.components: {rule}, got {most}"
    assert mistakes(data=DATA | {"preprocess": preprocess}) == [told]


def test_as_many_directions_as_there_are_will_do() -> None:
    preprocess = {"choose": ["none", {"pca": {"components": {"low": 2, "high": 10}}}]}
    Datasets(study(data=DATA | {"preprocess": preprocess}))


def test_a_share_that_leaves_nothing_is_told_at_its_field() -> None:
    told = "data.validation: must split 354 rows into two parts with rows, got 0.001"
    assert mistakes(data=DATA | {"validation": 0.001}) == [told]


def test_test_rows_without_r2_are_refused_at_once(tmp_path: Path) -> None:
    """They alone would be found only after all the training, as no number that JSON has."""
    x, y = np.arange(80.0).reshape(40, 2), np.arange(40.0)
    np.savez(tmp_path / "a.npz", x=x, y=y, x_test=x[:3], y_test=np.full(3, 5.0))
    source, rule = f"npz:{tmp_path / 'a.npz'}", "must differ in y, or there is no R², got only"
    assert mistakes(data=DATA | {"source": source}) == [f"data.source: test rows (3) {rule} 5.0"]
    (told,) = mistakes(data=DATA | {"test": 0.002})
    assert told.startswith("data.test: test rows (1) must differ in progression")


def test_sensitivity_is_of_the_loss_that_is_learnt_whatever_the_unit() -> None:
    made = study(training={"precision": "float64", "early_stopping": {"patience": 9}})
    plain, cfg = made.first_config(), build(Config, made.first_config())
    data = Datasets(made).data(plain)
    (fold,) = data.folds
    scaled = replace(fold, y_train=fold.y_train * 64 - 512, y_val=fold.y_val * 64 - 512)
    first, second = (
        measured(cfg, train(cfg, each, None, 3, seed=0, replicates=2).state, each, 0)
        for each in (data, replace(data, folds=(scaled,)))
    )
    for one, other in zip(first, second, strict=True):
        assert other.nudge == pytest.approx(one.nudge, rel=1e-9)
        assert other.change == pytest.approx(one.change, rel=1e-6)
        assert one.change is not None
        assert 0 < one.change < 0.1  # of a loss that is about 1


def test_the_second_panel_is_of_r2(tmp_path: Path) -> None:
    names = ("train_loss", "train_r2", "val_loss", "val_r2")
    history = {name: np.array([[0.1], [0.5]]) for name in names}
    painter = CurvePainter()
    painter.draw([Epochs(0, 1, history, 0)], tmp_path / "a.png")
    assert [each.get_title() for each in painter._axes.values()] == ["loss", "R²"]
    assert all(len(each.lines) == 2 for each in painter._axes.values())
    other = {name.replace("r2", "accuracy"): values for name, values in history.items()}
    painter.draw([Epochs(0, 1, other, 0)], tmp_path / "b.png")
    assert [each.get_title() for each in painter._axes.values()] == ["loss", "accuracy"]


def test_what_is_said_of_trials_that_diverged() -> None:
    found = finding("val_r2: relu > tanh")
    assert "accuracy" not in note([found])
    assert "has no mean loss and no mean R²" in note([found])
    assert "accuracy" in note([finding("val_accuracy: relu > tanh")])


def finding(claim: str) -> Finding:
    return Finding(
        name="b",
        claim=claim,
        difference="relu − tanh",
        effect=None,
        low=None,
        high=None,
        confidence=0.95,
        pairs=0,
        replicates=5,
        chosen=None,
        diverged=1,
        look=1,
        margin=0.0,
        verdict="undecided",
        reason="trial 0 diverged",
        more_replicates=None,
        covers="seeds",
    )
