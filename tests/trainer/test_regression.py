"""Nets that predict numbers: their scale, their loss, their score and what goes with them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import mean_squared_error, r2_score

from tests.trainer.conftest import config, fold
from tests.trainer.test_replicates import assert_same, check_fused
from trainer import checkpoint
from trainer.arrays import Memory
from trainer.config import Config, conflicts, elsewhere
from trainer.convolution import Image
from trainer.data import Data, Fold, split
from trainer.dataset import Content, DataError, measured
from trainer.diagnosis import diagnose
from trainer.folding import fold as folded
from trainer.losses import mean_squared_error as write
from trainer.prediction import evaluate, predict
from trainer.rules import ConfigError, Technique
from trainer.sources import load
from trainer.state import weights
from trainer.streams import Purpose, generator
from trainer.tape import Tape, Variable
from trainer.targets import SCALE, SHIFT
from trainer.tasks import explained
from trainer.training import train

LOSS = "mean_squared_error"
UNITS = np.array([1.0, 1e-4, 300.0]), np.array([0.0, 5.0, -4000.0])
"""Scale and shift of targets that are measured in units of all kinds."""


def numbers(count: int = 3, rows: int = 61, features: int = 6) -> Fold:
    """Targets that depend on the features, each in a unit of its own."""
    made = fold(rows, features=features)
    slopes = np.random.default_rng(1).standard_normal((features, count))
    scale, shift = UNITS[0][:count], UNITS[1][:count]
    return Fold(
        made.x_train,
        np.tanh(made.x_train @ slopes) * scale + shift,
        made.x_val,
        np.tanh(made.x_val @ slopes) * scale + shift,
    )


@pytest.fixture
def data() -> Data:
    made = numbers()
    for array in (made.x_train, made.y_train, made.x_val, made.y_val):
        array.flags.writeable = False
    return Data((made,), 0)


def regression(model: dict[str, Any] | None = None, **training: Any) -> Config:
    return config(model, **{"loss": LOSS} | training)


def test_the_gradient_of_the_loss() -> None:
    generator = np.random.default_rng(0)
    scores, y = generator.normal(0, 3, (2, 5, 7)), generator.normal(0, 3, (2, 5, 7))
    nothing = np.zeros((2, 0))
    tape = Tape(Memory(), variables={"": Variable(nothing, nothing)}, running={}, training=True)
    errors = np.empty_like(scores)
    gradient = write(tape, scores, y, errors)
    tape.run()
    np.testing.assert_array_equal(errors, scores - y)
    np.testing.assert_allclose(gradient, 2 * (scores - y) / 35)


@pytest.mark.parametrize("place", ["none", "before", "after"])
def test_what_is_reported_is_what_scikit_learn_says_of_the_predictions(
    place: str, data: Data
) -> None:
    """In the targets' own units, with batch norm folded into the weights as well."""
    cfg = regression({"batch_norm": place}, precision="float64", epochs=30)
    progress = train(cfg, data, None, 30, seed=0, replicates=2)
    found, made = weights(cfg, progress.state), data.folds[0]
    assert found["2.weight"].shape == (2, 5, 3)
    scores = evaluate(cfg, found, made.x_val, made.y_val)
    for replicate, answer in enumerate(predict(cfg, found, made.x_val)):
        r2 = r2_score(made.y_val, answer)
        assert r2 > 0.1
        assert scores["r2"][replicate] == pytest.approx(r2, rel=1e-9)
        assert progress.metrics["val_r2"][replicate] == pytest.approx(r2, rel=1e-9)
        assert scores["loss"][replicate] == pytest.approx(mean_squared_error(made.y_val, answer))
        spread = made.y_train.std(axis=0)
        loss = mean_squared_error(made.y_val / spread, answer / spread)
        assert progress.metrics["val_loss"][replicate] == pytest.approx(loss, rel=1e-9)
    answers = predict(*folded(cfg, found), made.x_val)
    np.testing.assert_allclose(answers, predict(cfg, found, made.x_val), rtol=1e-9)


def test_what_is_explained_of_each_target() -> None:
    y, answers = np.random.default_rng(0).normal(3, 2, (2, 20, 3))
    expected = r2_score(y, answers, multioutput="raw_values")
    np.testing.assert_allclose(explained(y, answers), expected)


def test_the_training_score_is_one_less_the_loss(data: Data) -> None:
    """Since the training targets have variance 1; with the rate near 0 it is that of the rows."""
    cfg = regression(learning_rate=1e-12, precision="float64")
    progress = train(cfg, data, None, 1, seed=0, replicates=2)
    np.testing.assert_allclose(
        progress.history["train_r2"], 1 - progress.history["train_loss"], rtol=1e-12
    )
    made, found = data.folds[0], weights(cfg, progress.state)
    for replicate, answer in enumerate(predict(cfg, found, made.x_train)):
        r2 = r2_score(made.y_train, answer)
        assert progress.metrics["train_r2"][replicate] == pytest.approx(r2, rel=1e-6)


def test_a_net_of_zeros_answers_the_training_mean(data: Data) -> None:
    """Nothing of the validation rows is in the scale, and the bias starts at the mean."""
    cfg = regression({"init": {"normal": {"sigma": 1e-30}}})
    made = data.folds[0]
    found = weights(cfg, train(cfg, data, None, 0, seed=0, replicates=1).state)
    mean = np.tile(made.y_train.mean(axis=0), (23, 1))
    np.testing.assert_allclose(predict(cfg, found, made.x_val)[0], mean, rtol=1e-6)
    other = Data((Fold(made.x_train, made.y_train, made.x_val, made.y_val + 1e6),), 0)
    state = train(cfg, other, None, 0, seed=0, replicates=1).state
    np.testing.assert_array_equal(state[SHIFT], [made.y_train.mean(axis=0)])
    np.testing.assert_array_equal(state[SCALE], [made.y_train.std(axis=0)])


def test_units_change_nothing_but_the_unit_of_the_answers() -> None:
    """The same net learns from metres and from feet above another datum."""
    made = numbers(1)
    scaled = Fold(made.x_train, made.y_train * 64 - 512, made.x_val, made.y_val * 64 - 512)
    cfg = regression({"batch_norm": "after"}, precision="float64")
    first, second = (
        train(cfg, Data((f,), 0), None, 9, seed=0, replicates=1) for f in (made, scaled)
    )
    np.testing.assert_allclose(first.metrics["val_r2"], second.metrics["val_r2"], rtol=1e-9)
    plain, other = (
        predict(cfg, weights(cfg, each.state), made.x_val)[0] for each in (first, second)
    )
    np.testing.assert_allclose(other, plain * 64 - 512, rtol=1e-9)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [[], [64, 64], [1]])
def test_replicates_and_links(
    hidden: list[int], precision: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data((numbers(count),), 0)
    model = {"hidden": hidden, "batch_norm": "after", "dropout": 0.3}
    cfg = regression(model, precision=precision)
    whole = train(cfg, data, None, 4, seed=5, replicates=3)
    half = train(cfg, data, None, 2, seed=5, replicates=3)
    assert_same(train(cfg, data, half.state, 4, seed=5, replicates=3).state, whole.state)
    check_fused(cfg, data, monkeypatch)


def test_each_fold_has_a_scale_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Content("here", numbers(rows=90).x_train, numbers(rows=90).y_train)
    data = split(
        measured(table),
        validation=0.2,
        test=0.2,
        folds=3,
        preprocess=Technique("standardize"),
        seed=0,
    ).data
    cfg = regression(precision="float64")
    progress = train(cfg, data, None, 9, seed=0, replicates=3)
    found = weights(cfg, progress.state)
    for replicate, each in enumerate(data.folds):
        np.testing.assert_array_equal(progress.state[SHIFT][replicate], each.y_train.mean(axis=0))
        r2 = r2_score(each.y_val, predict(cfg, found, each.x_val)[replicate])
        assert progress.metrics["val_r2"][replicate] == pytest.approx(r2, rel=1e-9)
    check_fused(cfg, data, monkeypatch)


@pytest.mark.parametrize("monitor", ["val_loss", "val_r2"])
def test_the_best_weights_are_restored(monitor: str, data: Data) -> None:
    stopping = {"patience": 2, "monitor": monitor}
    cfg = regression(early_stopping=stopping, learning_rate=0.1, epochs=60, precision="float64")
    progress = train(cfg, data, None, 60, seed=0, replicates=3)
    assert (progress.state["stopped"] > 0).all()
    best = np.nanmin if monitor == "val_loss" else np.nanmax
    np.testing.assert_array_equal(
        progress.metrics[monitor], best(progress.history[monitor], axis=0)
    )
    made, found = data.folds[0], weights(cfg, progress.state)
    scores = evaluate(cfg, found, made.x_val, made.y_val)
    np.testing.assert_allclose(scores["r2"], progress.metrics["val_r2"], rtol=1e-9)


def test_convolutions_predict_numbers() -> None:
    """How bright the middle of an image is, for which a mean of all would not do."""
    x = np.random.default_rng(0).random((200, 36), np.float32)
    y = x.reshape(-1, 6, 6)[:, 2:4, 2:4].mean(axis=(1, 2))[:, None].astype(float)
    data = Data((Fold(x[:160], y[:160], x[160:], y[160:]),), 0, Image(1, 6, 6))
    model = {"architecture": {"cnn": {"channels": [4], "pool": "none"}}, "hidden": [8]}
    cfg = regression(model, epochs=30)
    progress = train(cfg, data, None, 30, seed=0, replicates=2)
    assert (progress.metrics["val_r2"] > 0.6).all()


def test_a_plateau_may_watch_the_score(data: Data) -> None:
    schedule = {"plateau": {"patience": 1, "monitor": "val_r2", "factor": 0.5}}
    cfg = regression(schedule=schedule, learning_rate=0.2)
    history = train(cfg, data, None, 9, seed=0, replicates=1).history
    rates, values = history["learning_rate"][:, 0], history["val_r2"][:, 0]
    best, expected = -np.inf, [0.2]
    for value in values[:-1]:
        expected.append(expected[-1] * (1.0 if value > best else 0.5))
        best = max(best, value)
    np.testing.assert_allclose(rates, expected)
    assert rates[-1] < rates[0]


def test_pretrained_layers_go_on_to_numbers(data: Data) -> None:
    pretrained = regression({"pretrain": {"autoencoder": {"epochs": 1}}})
    plain, other = (
        train(cfg, data, None, 1, seed=0, replicates=1).state["parameters"]
        for cfg in (regression(), pretrained)
    )
    assert not np.array_equal(plain, other)


@pytest.mark.parametrize(
    ("model", "training", "told"),
    [
        ({}, {"label_smoothing": 0.1}, "training.label_smoothing: must be 0"),
        ({}, {"per_class": 3}, "training.per_class: must be left out"),
        ({"pretrain": "pairs"}, {}, "model.pretrain: must not be pairs"),
        (
            {},
            {"early_stopping": {"monitor": "val_accuracy"}},
            "training.early_stopping.monitor: must be val_loss or val_r2",
        ),
        (
            {},
            {"schedule": {"plateau": {"monitor": "val_accuracy"}}},
            "training.schedule.plateau.monitor: must be val_loss or val_r2",
        ),
        (
            {},
            {"loss": "cross_entropy", "early_stopping": {"monitor": "val_r2"}},
            "training.early_stopping.monitor: must be val_loss or val_accuracy with training.loss "
            "cross_entropy, got 'val_r2'",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(
    model: dict[str, Any], training: dict[str, Any], told: str
) -> None:
    (problem,) = conflicts(regression(model, **training))
    assert str(problem).startswith(told)


def test_loss_and_data_must_agree(data: Data) -> None:
    with pytest.raises(ConfigError) as raised:
        train(config(), data, None, 1, seed=0, replicates=1)
    rule = "training.loss: must be mean_squared_error with data of numbers, got 'cross_entropy'"
    assert str(raised.value) == rule
    with pytest.raises(ConfigError, match="must be of classes with data of classes"):
        train(regression(), Data((fold(),), 3), None, 1, seed=0, replicates=1)
    assert "processors alone" in str(elsewhere(regression())[0])


def test_a_loss_that_overflows_is_told(data: Data) -> None:
    progress = train(
        regression(optimizer="sgd", learning_rate=1e30), data, None, 9, seed=0, replicates=2
    )
    assert progress.diverged is not None


def test_diabetes() -> None:
    found = load("diabetes", numbers=True)
    assert (found.x.shape, found.y.shape, found.classes) == ((442, 10), (442, 1), ())
    assert found.targets == ("progression",)
    assert found.y.mean() == pytest.approx(152.13, abs=0.01)
    with pytest.raises(DataError, match=r"diabetes: has numbers to predict, which need data\.task"):
        load("diabetes")


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (np.array([1.0, np.nan, 2.0]), "targets must be finite numbers"),
        (np.array([1.0, np.inf, 2.0]), "targets must be finite numbers"),
        (np.array(["a", "b", "c"]), "targets must be numbers, got <U1"),
        (np.ones(3), "targets must differ among the rows"),
        (np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 4.0]]), "targets must differ among the rows"),
        (np.ones((3, 1, 1)), r"y must be \(3,\) or \(3, K\) numbers, got \(3, 1, 1\)"),
        (np.ones(4), r"y must be \(3,\) or \(3, K\) numbers, got \(4,\)"),
    ],
)
def test_bad_targets(y: np.ndarray, told: str) -> None:
    with pytest.raises(DataError, match=f"^here: {told}"):
        measured(Content("here", np.arange(6.0).reshape(3, 2), y))


def test_targets_that_are_words(tmp_path: Any) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,red\n2,green\n")
    with pytest.raises(DataError, match="targets must be numbers, got words such as 'green'"):
        load(f"csv:{tmp_path / 'a.csv'}#y", numbers=True)
    (tmp_path / "b.csv").write_text("x,price\n1,2.5\n2,3.25\n")
    found = load(f"csv:{tmp_path / 'b.csv'}#price", numbers=True)
    assert found.targets == ("price",)
    np.testing.assert_array_equal(found.y, [[2.5], [3.25]])


def test_several_targets_from_arrays(tmp_path: Any) -> None:
    x, y = np.arange(10.0).reshape(5, 2), np.arange(15.0).reshape(5, 3)
    np.savez(tmp_path / "a.npz", x=x, y=y, x_test=x, y_test=y)
    found = load(f"npz:{tmp_path / 'a.npz'}", numbers=True)
    assert found.targets == ("y0", "y1", "y2")
    assert found.test is not None
    np.testing.assert_array_equal(found.test[1], y)
    np.savez(tmp_path / "b.npz", x=x, y=y, x_test=x, y_test=y[:, :2])
    with pytest.raises(DataError, match="both splits must have as many targets, got 3 and 2"):
        load(f"npz:{tmp_path / 'b.npz'}", numbers=True)


@pytest.mark.parametrize(
    ("alone", "folds", "told"),
    [
        ("test", None, r"data\.test: test rows \(2\) must differ in y1, or .*, got only 7\.0"),
        ("source", None, r"data\.source: test rows \(4\) must differ in y1"),
        ("validation", None, r"data\.validation: validation rows \(4\) must differ in y1"),
        ("validation", 2, r"data\.folds: validation rows \(4\) must differ in y1"),
        ("training", None, r"data\.validation: training rows \(4\) must differ in y1"),
    ],
)
def test_a_part_whose_targets_are_all_the_same_has_no_score(
    alone: str, folds: int | None, told: str
) -> None:
    """That is told of whichever part, before anything is trained, unless no score is wanted."""
    x, y = np.arange(20.0).reshape(10, 2), np.arange(20.0).reshape(10, 2)
    order = generator(seed=0, purpose=Purpose.SPLIT).permutation(10)
    parts = {"test": order[:2], "validation": order[2:6], "training": order[6:]}
    test = None
    if alone == "source":
        test = x[:4], np.stack([y[:4, 0], np.full(4, 7.0)], axis=1)
    else:
        y[parts[alone], 1] = 7.0
    data = measured(Content("here", x, y, test=test))
    common: dict[str, Any] = {"test": None, "validation": 0.5, "folds": folds, "seed": 0}
    with pytest.raises(DataError, match=f"^{told}"):
        split(data, preprocess=Technique("none"), **common)
    split(data, preprocess=Technique("none"), **common, scored=False)


def test_the_verdict_speaks_of_r2() -> None:
    def told(train: float, val: float) -> list[str]:
        return diagnose({"train_r2": train, "val_r2": val, "train_loss": 1.0, "val_loss": 1.0})

    assert told(0.9, 0.5) == ["fits train (R² 0.900), not validation (0.500): regularise"]
    assert told(0.1, 0.1) == ["does not fit train (R² 0.100)"]
    assert told(0.6, 0.5) == []


def test_a_state_knows_its_scale(tmp_path: Path) -> None:
    """What goes on elsewhere needs no data to predict in the right unit, digits far out too."""
    made = numbers(2)
    far = np.array([20_000_003.0, 1.7e5])
    made = replace(made, y_train=made.y_train + far, y_val=made.y_val + far)
    cfg = regression({"batch_norm": "after"}, epochs=30)
    progress = train(cfg, Data((made,), 0), None, 30, seed=0, replicates=2)
    checkpoint.save(tmp_path / "a.npz", progress.state, {})
    found = weights(cfg, checkpoint.load(tmp_path / "a.npz").arrays)
    assert {name: array.dtype for name, array in found.items()}["0.weight"] == np.float32
    for replicate, answer in enumerate(predict(cfg, found, made.x_val)):
        r2 = r2_score(made.y_val[:, 0], answer[:, 0])
        assert r2 > 0.2
        both = r2_score(made.y_val, answer)
        assert progress.metrics["val_r2"][replicate] == pytest.approx(both, abs=1e-4)
    one, other = predict(*folded(cfg, found), made.x_val), predict(cfg, found, made.x_val)
    np.testing.assert_allclose(one - far, other - far, atol=1e-4)
