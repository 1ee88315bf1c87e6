from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.spec import space
from sweep.spec.study import Study, check
from sweep.spec.study_file import load, parse
from tests.sweep.refused import mistakes
from trainer.config import Config
from trainer.data import Data, Fold
from trainer.dropout import KINDS
from trainer.optimisers import OPTIMISERS
from trainer.rules import ConfigError, build
from trainer.schedules import SCHEDULES
from trainer.training import train

MakeStudy = Callable[..., Study]
STUDIES = Path(__file__).parents[2] / "studies"


def test_all_that_a_study_needs_is_a_name() -> None:
    study = check({"name": "a"})
    assert study.question == ""
    assert (study.data.source, study.data.validation, study.data.test) == ("digits", 0.2, None)
    assert study.data.preprocess.name == "standardize"
    assert study.template["model"]["hidden"] == [64, 64]
    assert study.template["training"]["epochs"] == 27
    assert (study.metric, study.maximize, study.epochs) == ("val_accuracy", True, 27)
    assert (study.search.trials, study.search.sampler.name, study.search.seed) == (60, "tpe", 0)
    assert study.search.pruner.name == "asha"
    assert study.search.pruner.parameters == {"reduction": 3, "min_epochs": None}
    assert study.search.timeout is None
    assert (study.replicates, study.resources.cpu, study.resources.gpu) == (3, 1, 0)
    assert study.record.weights.name == "all"
    assert study.target == 60
    assert study.parameters() == []


def test_where_states_are_kept() -> None:
    assert check({"name": "a"}).storage is None
    for place in ("/mnt/states", "s3://bucket/states", "sftp://user@host/states"):
        assert check({"name": "a", "storage": place}).storage == place
    rule = r"storage: must be a path, or one URL (SCHEME://…) without a password, got "
    for place in ("s3://key:secret@bucket", "simplecache::s3://bucket"):
        assert mistakes({"name": "a", "storage": place}) == [f"{rule}'{place}'"]


def test_the_default_study(digits: dict[str, Any]) -> None:
    study = check(digits)
    assert study.target == 60
    assert {each.name: str(each) for each in study.parameters()} == {
        "model.activation": "sigmoid | tanh | relu | leaky_relu | elu | maxout",
        "model.activation.leaky_relu.alpha": "log float 0.001 … 0.3",
        "model.activation.elu.alpha": "float 0.1 … 2",
        "model.activation.maxout.pieces": "2 | 3",
        "model.init": "normal | xavier_normal | xavier_uniform | he_normal | he_uniform",
        "model.batch_norm": "none | before | after",
        "model.dropout": "float 0 … 0.7",
        "training.learning_rate": "log float 0.0001 … 0.1",
    }
    chosen: dict[str, space.Scalar] = {
        "model.activation": "elu",
        "model.activation.elu.alpha": 0.5,
        "model.init": "normal",
        "model.batch_norm": "after",
        "model.dropout": 0.25,
        "training.learning_rate": 0.01,
    }
    config = study.config(chosen)
    assert config["model"]["activation"] == {"elu": {"alpha": 0.5}}
    assert config["training"]["learning_rate"] == 0.01
    assert build(Config, config).model.dropout.rate == 0.25


def test_every_technique_of_training_is_a_choice() -> None:
    """What a study may search over, and that each choice can be trained."""
    choices = {
        "optimizer": [*sorted(OPTIMISERS.keys() - {"ftrl"}), {"ftrl": {"l2": 0.1}}],
        "schedule": [
            *sorted(SCHEDULES.keys() - {"step"}),
            {"step": {"factor": {"low": 0.1, "high": 0.9}}},
        ],
        "warmup": [0, 0.5],
        "loss": ["cross_entropy", "binary_cross_entropy"],
        "label_smoothing": [0, 0.1],
        "l2": [0, 0.01],
        "max_norm": [None, 1.0],
        "clip_value": [None, 0.1],
        "clip_norm": [None, 1.0],
    }
    drop = {"rate": {"low": 0, "high": 0.5}, "kind": {"choose": [*KINDS]}, "input": 0.1}
    study = check(
        {
            "name": "a",
            "model": {"hidden": [3], "dropout": {"choose": [0.2, drop]}},
            "training": {"epochs": 1}
            | {name: {"choose": options} for name, options in choices.items()},
        }
    )
    names = {each.name for each in study.parameters()}
    assert names >= {f"training.{name}" for name in choices}
    assert names >= {"model.dropout", "training.schedule.step.factor"}
    chance = np.random.default_rng(0)
    x, y = chance.standard_normal((20, 4), np.float32), chance.integers(0, 2, 20)

    def suggest(parameter: space.Parameter) -> space.Scalar:
        if isinstance(parameter, space.Range):
            return float(chance.uniform(parameter.low, parameter.high))
        return parameter.labels[chance.integers(len(parameter.labels))]

    for _ in range(40):
        config = build(Config, space.resolve(study.template, suggest))
        progress = train(config, Data((Fold(x, y, x, y),), 2), None, 1, seed=0, replicates=2)
        assert np.isfinite(progress.metrics["val_loss"]).all()


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_studies_that_are_shipped(path: Path) -> None:
    study = check(load(path))
    assert study.name == path.stem
    assert study.question


def test_the_text_of_a_study_is_the_study(digits: dict[str, Any]) -> None:
    again = check(parse(check(digits).text, "text"))
    assert again == check(digits)
    assert parse(again.text, "text") == digits


@pytest.mark.parametrize("name", ["1e3", "08", "0x1f", "true-ish", "no", "a" * 100, "A.b_c-d"])
def test_a_name_survives_being_stored(name: str) -> None:
    assert check(parse(check({"name": name}).text, "text")).name == name


@pytest.mark.parametrize(
    "name",
    [
        *("../up", "a/b", "..", ".", ".hidden", "-flag", "", "a b", "ä", "a\n", "a" * 101, 3, None),
        *(
            "mlflow.db",
            "mlflow.db-wal",
            "mlartifacts",
            "ui.log",
        ),  # what the workspace holds beside studies
    ],
)
def test_a_name_that_is_no_plain_file_name(name: Any) -> None:
    (mistake,) = mistakes({"name": name})
    assert mistake.startswith("name: must be letters, digits, `_`, `-` and `.`, not starting with")


def test_a_name_may_begin_like_one_of_the_workspace() -> None:
    assert check({"name": "mlartifacts2"}).name == "mlartifacts2"


@pytest.mark.parametrize(
    ("objective", "metric", "maximize"),
    [
        ({"metric": "val_accuracy"}, "val_accuracy", True),
        ({"metric": "train_accuracy"}, "train_accuracy", True),
        ({"metric": "val_loss"}, "val_loss", False),
        ({"metric": "train_loss"}, "train_loss", False),
        ({"metric": "parameters"}, "parameters", False),
        ({"metric": "predict_seconds"}, "predict_seconds", False),
        ({"metric": "epoch_seconds"}, "epoch_seconds", False),
        ({"metric": "val_accuracy", "direction": "minimize"}, "val_accuracy", False),
        ({"metric": "val_loss", "direction": "maximize"}, "val_loss", True),
        ({"direction": "minimize"}, "val_accuracy", False),
    ],
)
def test_the_direction_of_a_metric(
    make_study: MakeStudy, objective: Any, metric: str, maximize: bool
) -> None:
    study = make_study(objective=objective)
    assert (study.metric, study.maximize) == (metric, maximize)


@pytest.mark.parametrize(
    ("epochs", "largest"),
    [
        (5, 5),
        ({"low": 3, "high": 9}, 9),
        ({"choose": [9, 3]}, 9),
        ({"choose": [2, {"low": 3, "high": 7}, {"choose": [5, 6]}]}, 7),
    ],
)
def test_the_largest_budget(make_study: MakeStudy, epochs: Any, largest: int) -> None:
    assert make_study(training={"epochs": epochs}).epochs == largest


@pytest.mark.parametrize("sampler", ["grid", "factorial"])
def test_a_design_ends_with_its_last_point(make_study: MakeStudy, sampler: str) -> None:
    model = {
        "init": {"choose": ["normal", "he_normal"]},
        "activation": {"choose": ["relu", {"maxout": {"pieces": {"low": 2, "high": 3}}}]},
        "dropout": {"low": 0.1, "high": 0.3, "step": 0.1},
    }
    cells = 2 * (1 + 2) * 3
    for trials in (1, cells - 1, cells, cells + 1, 1000):
        study = make_study(model=model, search={"sampler": sampler, "trials": trials})
        assert study.target == min(trials, cells)
    assert make_study(model=model, search={"sampler": "random", "trials": 1000}).target == 1000


def test_folds_take_the_place_of_replicates(make_study: MakeStudy) -> None:
    assert make_study(data={"folds": 5}).replicates == 5
    assert make_study(replicates=4).replicates == 4


def test_what_is_checked_is_not_changed(digits: dict[str, Any]) -> None:
    before = repr(digits)
    check(digits)
    assert repr(digits) == before


def test_the_preprocessing_can_be_searched() -> None:
    choices = {"choose": ["none", "standardize", "minmax"]}
    study = check({"name": "a", "data": {"preprocess": choices}, "search": {"sampler": "grid"}})
    assert [each.name for each in study.parameters()] == ["data.preprocess"]
    assert study.data.preprocess.name == "none"
    assert study.config({"data.preprocess": "minmax"})["data"] == {"preprocess": "minmax"}
    with pytest.raises(ConfigError, match=r"data\.validation: must be a number"):
        check({"name": "a", "data": {"validation": {"choose": [0.1, 0.2]}}})
