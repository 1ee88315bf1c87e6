"""Training on few rows of each class."""

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from trainer.data import Data, few
from trainer.rules import ConfigError
from trainer.training import train

DATA = Data((fold(),), 3)


def test_each_replicate_has_so_many_rows_of_each_class_of_its_own() -> None:
    found = few(DATA, 4, seed=0, replicates=range(3))
    whole = DATA.folds[0]
    for each in found.folds:
        assert np.bincount(each.y_train).tolist() == [4, 4, 4]
        assert each.x_val is whole.x_val
        for x, y in zip(each.x_train, each.y_train, strict=True):
            (place,) = np.flatnonzero((whole.x_train == x).all(axis=1))
            assert whole.y_train[place] == y
    assert not np.array_equal(found.folds[0].x_train, found.folds[1].x_train)
    again = few(DATA, 4, seed=0, replicates=range(2, 3))
    assert np.array_equal(again.folds[0].x_train, found.folds[2].x_train)


def test_fewer_rows_are_among_more() -> None:
    (some,), (more,) = (few(DATA, n, seed=1, replicates=range(1)).folds for n in (2, 5))
    known = {row.tobytes() for row in more.x_train}
    assert len(some.y_train) == 6
    assert all(row.tobytes() in known for row in some.x_train)


def test_training_sees_these_rows_alone_in_every_link_and_in_any_company() -> None:
    made = config(per_class=2, epochs=4)
    whole = train(made, DATA, None, 4, seed=0, replicates=3)
    assert whole.history["train_accuracy"][-1] * 6 == pytest.approx(
        np.round(whole.history["train_accuracy"][-1] * 6)
    )
    half = train(made, DATA, None, 2, seed=0, replicates=3)
    rest = train(made, DATA, half.state, 4, seed=0, replicates=3)
    assert np.array_equal(rest.state["parameters"], whole.state["parameters"])
    alone = train(made, DATA, None, 4, seed=0, replicates=1, first=2)
    assert np.array_equal(alone.state["parameters"][0], whole.state["parameters"][2])
    everything = train(config(epochs=4), DATA, None, 4, seed=0, replicates=3)
    assert not np.array_equal(everything.state["parameters"], whole.state["parameters"])


def test_pretraining_sees_all_rows() -> None:
    """Weights before the first epoch don't depend on how many rows have labels to train on."""
    model = {"pretrain": "autoencoder"}
    one, five = (
        train(config(model, per_class=n), DATA, None, 0, seed=0, replicates=2).state["parameters"]
        for n in (1, 5)
    )
    assert np.array_equal(one, five)


def test_no_more_rows_than_the_rarest_class_has() -> None:
    rarest = np.bincount(DATA.folds[0].y_train).min()
    with pytest.raises(ConfigError, match=rf"per_class: must be at most the {rarest} training"):
        train(config(per_class=int(rarest) + 1), DATA, None, 1, seed=0, replicates=1)
