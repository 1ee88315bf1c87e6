import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.trainer.conftest import config
from trainer.config import Model, Training
from trainer.data import Data, Fold
from trainer.estimators import Classifier
from trainer.prediction import predict
from trainer.preprocessing import transform
from trainer.rules import ConfigError, settings
from trainer.state import weights
from trainer.training import train

README = Path(__file__).parents[2] / "README.md"
DIGITS, LABELS = load_digits(return_X_y=True)
TRAIN, TEST = slice(0, 1200), slice(1200, None)

EVERYTHING = Classifier(
    activation={"maxout": {"pieces": 2}},
    batch_norm="after",
    dropout=0.1,
    early_stopping={"patience": 5},
    preprocess="zca",
)


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [Classifier(), EVERYTHING, Classifier(batch_norm="before", preprocess="pca")]
)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_its_parameters_are_those_of_the_configuration() -> None:
    own = {"preprocess", "validation", "random_state"}
    expected = {*settings(Model), *settings(Training), *own}
    assert set(inspect.signature(Classifier).parameters) == expected
    made = Classifier(dropout=0.3).get_params()
    assert (made["dropout"], made["hidden"], made["early_stopping"]) == (0.3, (64, 64), None)
    with pytest.raises(TypeError, match=r"no parameter droput \(did you mean dropout\?\)"):
        Classifier(droput=0.3)


@pytest.mark.parametrize("batch_norm", ["none", "before", "after"])
def test_predicts_what_replicate_0_of_the_trainer_does(batch_norm: str) -> None:
    x, y = DIGITS[:300].astype(np.float32), LABELS[:300]
    training: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 32,
        "learning_rate": 0.01,
        "precision": "float64",
    }
    net: dict[str, Any] = {"hidden": [16], "batch_norm": batch_norm, "dropout": 0.2}
    cfg = config(net, **training)
    scaled = (x - x.mean(axis=0, dtype=float)) / np.maximum(x.std(axis=0, dtype=float), 1e-30)
    scaled = scaled.astype(np.float32)
    data = Data((Fold(scaled, y, scaled[:9], y[:9]),), 10)
    state = train(cfg, data, None, 3, seed=7, replicates=2).state
    expected = predict(cfg, weights(cfg, state), scaled)[0]
    made = Classifier(**net, **training, random_state=7)
    np.testing.assert_allclose(made.fit(x, y).predict_proba(x), expected, rtol=1e-4, atol=1e-7)
    assert made.config_.model.batch_norm.name == "none"


def test_learns_digits_whatever_their_names() -> None:
    words = np.array([f"digit {label}" for label in LABELS])
    made = Classifier(batch_norm="after").fit(DIGITS[TRAIN], words[TRAIN])
    assert made.classes_[3] == "digit 3"
    assert made.predict(DIGITS[1200:1203]).dtype == words.dtype
    assert made.score(DIGITS[TEST], words[TEST]) > 0.9
    odds = made.predict_proba(DIGITS[TEST])
    assert odds.shape == (597, 10)
    np.testing.assert_allclose(odds.sum(axis=1), 1)


def test_the_readme_shows_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    section = README.read_text(encoding="utf-8").partition("## The trainer as a library")[2]
    _, code, _, output, *_ = section.split("```")
    exec(code.removeprefix("python"), {})  # noqa: S102
    said, shown = capsys.readouterr().out.split(), output.split()
    assert said[:-1] == shown[:-1]
    assert float(said[-1]) == pytest.approx(float(shown[-1]), abs=0.02)  # BLAS libraries differ


def test_a_pickle_predicts_the_same() -> None:
    made = Classifier(hidden=[8], epochs=2).fit(DIGITS, LABELS)
    again = pickle.loads(pickle.dumps(made))  # noqa: S301
    np.testing.assert_array_equal(again.predict_proba(DIGITS), made.predict_proba(DIGITS))


def test_without_early_stopping_every_row_trains() -> None:
    made = Classifier(hidden=[4], epochs=1, preprocess="minmax").fit(DIGITS, LABELS)
    np.testing.assert_array_equal(made.preprocessing_["shift"], DIGITS.min(axis=0))
    made = Classifier(hidden=[4], epochs=1).fit(DIGITS, LABELS)
    np.testing.assert_allclose(made.preprocessing_["shift"], DIGITS.mean(axis=0))


def test_early_stopping_holds_rows_out_and_stops() -> None:
    options: dict[str, Any] = {"hidden": [32], "learning_rate": 0.3, "optimizer": "sgd"}
    stopping = Classifier(**options, epochs=200, early_stopping={"patience": 1}, validation=0.5)
    made = stopping.fit(DIGITS, LABELS)
    assert made.score(DIGITS, LABELS) > 0.8
    # preprocessing has seen only the half that trains
    assert not np.allclose(made.preprocessing_["shift"], DIGITS.mean(axis=0))
    # one epoch more to go makes no difference: it has stopped before
    longer = Classifier(**options, epochs=201, early_stopping={"patience": 1}, validation=0.5)
    np.testing.assert_array_equal(
        longer.fit(DIGITS, LABELS).predict_proba(DIGITS), made.predict_proba(DIGITS)
    )


def test_a_plateau_holds_rows_out() -> None:
    made = Classifier(hidden=[16], schedule={"plateau": {"patience": 1}}, learning_rate=0.01)
    assert made.fit(DIGITS[TRAIN], LABELS[TRAIN]).score(DIGITS[TEST], LABELS[TEST]) > 0.85
    assert not np.allclose(made.preprocessing_["shift"], DIGITS[TRAIN].mean(axis=0))


def test_preprocessing_is_part_of_the_model() -> None:
    made = Classifier(hidden=[16], preprocess={"pca": {"components": 20}}).fit(DIGITS, LABELS)
    assert made.weights_["0.weight"].shape == (1, 20, 16)
    assert made.score(DIGITS, LABELS) > 0.8
    x = transform(made.preprocessing_, DIGITS.astype(np.float32))
    np.testing.assert_array_equal(
        predict(made.config_, made.weights_, x)[0], made.predict_proba(DIGITS)
    )


def test_searches_set_numbers_of_numpys() -> None:
    grid = {"learning_rate": np.geomspace(1e-3, 1e-2, 2), "epochs": np.arange(1, 3)}
    found = GridSearchCV(Classifier(hidden=(8,)), grid, cv=2, error_score="raise")
    found.fit(DIGITS[:400], LABELS[:400])
    assert found.best_params_["epochs"] == 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dropout": 1.5}, r"^dropout.rate: must lie in \[0, 1\), got 1.5$"),
        ({"hidden": 64}, r"^hidden: must be a list, got 64$"),
        ({"hidden": (0,)}, r"^hidden\.0: must be at least 1 and at most 1000000, got 0$"),
        ({"activation": "rleu"}, r"^activation: must be one of .* \(did you mean relu\?\)"),
        ({"early_stopping": {"patience": 0}}, r"^early_stopping\.patience: must be at least 1"),
        ({"preprocess": {"pca": {"components": 0}}}, r"^preprocess\.pca\.components: must be"),
        ({"preprocess": {"pca": {"components": 65}}}, r"^pca\.components: must be at most 61"),
        ({"random_state": -1}, r"^random_state: must be at least 0, got -1$"),
        ({"validation": 1}, r"^validation: must lie in \(0, 1\), got 1$"),
        ({"epochs": 0, "precision": "half"}, r"^epochs: .*\nprecision: must be one of"),
        ({"batch_norm": "after", "batch_size": 1}, "batch_size: must be at least 2"),
    ],
)
def test_mistakes_give_the_rule_and_the_value(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        Classifier(**parameters).fit(DIGITS, LABELS)
    assert isinstance(raised.value, ConfigError) or "pca" in message


def test_one_class_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"y: must have at least two classes, got one class \(4\)"):
        Classifier().fit(DIGITS[:5], np.full(5, 4))


def test_a_loss_that_overflows_is_said() -> None:
    made = Classifier(learning_rate=1e30, optimizer="sgd", epochs=3)
    with pytest.raises(FloatingPointError, match="diverged at epoch 1: the loss must stay finite"):
        made.fit(DIGITS, LABELS)
