import inspect
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.trainer.conftest import config
from trainer.config import Model, Training
from trainer.data import Data, Fold
from trainer.estimators import Regressor
from trainer.prediction import predict
from trainer.rules import ConfigError, settings
from trainer.state import weights
from trainer.training import train

X, Y = load_diabetes(return_X_y=True, scaled=False)
TRAIN, TEST = slice(0, 300), slice(300, None)

EVERYTHING = Regressor(
    activation={"maxout": {"pieces": 2}},
    batch_norm="after",
    dropout=0.1,
    early_stopping={"patience": 5, "monitor": "val_r2"},
    preprocess="zca",
)


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [Regressor(), EVERYTHING]
)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_its_parameters_are_those_that_mean_something_to_it() -> None:
    found = inspect.signature(Regressor).parameters
    classes = {"label_smoothing", "per_class"}
    own = {"preprocess", "validation", "random_state"}
    assert set(found) == ({*settings(Model), *settings(Training)} - classes) | own
    assert found["loss"].default == "mean_squared_error"
    with pytest.raises(TypeError, match="Regressor has no parameter label_smoothing"):
        Regressor(label_smoothing=0.1)
    with pytest.raises(ConfigError, match="loss: must be one of mean_squared_error, got 'cross_"):
        Regressor(loss="cross_entropy").fit(X, Y)


def test_predicts_what_replicate_0_of_the_trainer_does() -> None:
    x = X[:200].astype(np.float32)
    training: dict[str, Any] = {"epochs": 3, "batch_size": 32, "precision": "float64"}
    net: dict[str, Any] = {"hidden": [16], "batch_norm": "after", "dropout": 0.2}
    scaled = ((x - x.mean(axis=0, dtype=float)) / x.std(axis=0, dtype=float)).astype(np.float32)
    y = Y[:200, None]
    data = Data((Fold(scaled, y, scaled[:9], y[:9]),), 0)
    cfg = config(net, loss="mean_squared_error", **training)
    state = train(cfg, data, None, 3, seed=7, replicates=2).state
    expected = predict(cfg, weights(cfg, state), scaled)[0, :, 0]
    made = Regressor(**net, **training, learning_rate=0.01, random_state=7).fit(x, Y[:200])
    np.testing.assert_allclose(made.predict(x), expected, rtol=1e-4)


def test_it_is_not_far_from_a_linear_model_of_the_diabetes() -> None:
    made = Regressor(hidden=(16,), epochs=60, l2=0.01, learning_rate=0.003).fit(X[TRAIN], Y[TRAIN])
    scaled = (X - X[TRAIN].mean(axis=0)) / X[TRAIN].std(axis=0)
    linear = Ridge(10).fit(scaled[TRAIN], Y[TRAIN]).score(scaled[TEST], Y[TEST])
    assert made.score(X[TEST], Y[TEST]) > linear - 0.1


@pytest.mark.parametrize("monitor", ["val_loss", "val_r2"])
def test_a_plateau_watches_rows_held_out(monitor: str) -> None:
    schedule = {"plateau": {"patience": 2, "monitor": monitor}}
    made = Regressor(hidden=(16,), epochs=60, learning_rate=0.003, schedule=schedule)
    assert made.fit(X[TRAIN], Y[TRAIN]).score(X[TEST], Y[TEST]) > 0.35
    assert not np.allclose(made.preprocessing_["shift"], X[TRAIN].mean(axis=0))


@pytest.mark.parametrize("monitor", ["val_loss", "val_r2"])
def test_few_rows_may_stop_early_but_by_r2(monitor: str) -> None:
    made = Regressor(early_stopping={"patience": 2, "monitor": monitor})
    if monitor == "val_loss":
        assert np.isfinite(made.fit(X[:5], Y[:5]).predict(X)).all()
        return
    rule = r"validation rows \(1\) must differ in y0, or there is no R², got only 135\.0"
    with pytest.raises(ValueError, match=f"^data.validation: {rule}$"):
        made.fit(X[:5], Y[:5])


def test_units_far_from_zero_are_kept() -> None:
    """Of numbers that vary by a part in ten million of their size."""
    for far, near in ((20_000_003.0, 2.0), (1.7e9, 120.0)):
        y = (Y - Y.mean()) / Y.std()
        made = Regressor(hidden=(16,), epochs=30, random_state=1)
        plain = made.fit(X, y).predict(X)
        found = made.fit(X, y * near + far).predict(X)
        np.testing.assert_allclose((found - far) / near, plain, atol=1e-4)


def test_several_targets_come_back_as_they_were_given() -> None:
    both = np.stack([Y, 1e-3 * X[:, 2]], axis=1)
    made = Regressor(epochs=40, learning_rate=0.003).fit(X, both)
    found = made.predict(X[:5])
    assert found.shape == (5, 2)
    assert made.score(X, both) > 0.7
    assert Regressor(epochs=1).fit(X, both[:, :1]).predict(X[:5]).shape == (5, 1)
    assert Regressor(epochs=1).fit(X, Y).predict(X[:5]).shape == (5,)


def test_a_pickle_predicts_the_same() -> None:
    made = Regressor(hidden=[8], epochs=2).fit(X, Y)
    again = pickle.loads(pickle.dumps(made))  # noqa: S301
    np.testing.assert_array_equal(again.predict(X), made.predict(X))


def test_a_target_that_never_varies_is_predicted() -> None:
    made = Regressor(hidden=[4], epochs=200, learning_rate=0.01).fit(X, np.full(len(X), 1e4))
    np.testing.assert_allclose(made.predict(X[:9]), 1e4, rtol=1e-3)


def test_searches_go_by_r2() -> None:
    found = GridSearchCV(Regressor(hidden=(8,)), {"epochs": [1, 40]}, cv=2, error_score="raise")
    assert found.fit(X, Y).best_params_["epochs"] == 40
