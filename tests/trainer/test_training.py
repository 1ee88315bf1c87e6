import io
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from trainer import kernels
from trainer.data import Data, Fold
from trainer.group import batches
from trainer.prediction import evaluate
from trainer.rules import ConfigError
from trainer.state import weights
from trainer.tasks import CLASSIFICATION, metrics
from trainer.training import train

METRICS = metrics(CLASSIFICATION)


@pytest.mark.parametrize(
    ("rows", "size", "sizes"),
    [
        (20, 8, [8, 8, 4]),
        (16, 8, [8, 8]),
        (17, 8, [8, 9]),
        (3, 8, [3]),
        (1, 8, [1]),
        (9, 8, [9]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_batches(rows: int, size: int, sizes: list[int]) -> None:
    assert batches(rows, size) == sizes


def test_learns(data: Data) -> None:
    progress = train(config(), data, None, 9, seed=0, replicates=2)
    assert progress.finished
    assert (progress.metrics["val_accuracy"] > 0.6).all()
    assert (progress.history["train_loss"][-1] < progress.history["train_loss"][0]).all()


@pytest.mark.parametrize("batch_size", [1, 7, 8, 12, 20, 60, 61, 100])
def test_one_epoch_of_plain_descent(batch_size: int) -> None:
    """Weights, running means and losses after an epoch, against a plain restatement."""
    made = fold()
    cfg = config({"hidden": []}, optimizer="sgd", batch_size=batch_size, precision="float64")
    start = train(cfg, Data((made,), 3), None, 0, seed=3, replicates=1)
    first = weights(cfg, start.state)
    w, b = first["0.weight"][0].copy(), first["0.bias"][0].copy()
    order = np.random.Generator(np.random.SFC64(np.random.SeedSequence([3, 0, 2, 1]))).permutation(
        61
    )
    at, losses, hits = 0, 0.0, 0
    for size in batches(61, batch_size):
        rows, at = order[at : at + size], at + size
        x, y = made.x_train[rows].astype(float), made.y_train[rows]
        z = x @ w + b
        odds = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        losses -= float(np.log(odds[np.arange(size), y]).sum())
        hits += int((z.argmax(axis=1) == y).sum())
        dz = (odds - np.eye(3)[y]) / size
        w, b = w - 0.01 * x.T @ dz, b - 0.01 * dz.sum(axis=0)
    progress = train(cfg, Data((made,), 3), start.state, 1, seed=3, replicates=1)
    after = weights(cfg, progress.state)
    np.testing.assert_allclose(after["0.weight"][0], w, rtol=1e-12)
    np.testing.assert_allclose(after["0.bias"][0], b, rtol=1e-12)
    assert progress.metrics["train_loss"][0] == pytest.approx(losses / 61)
    assert progress.metrics["train_accuracy"][0] == pytest.approx(hits / 61)


def test_steps_are_counted_through_epochs() -> None:
    """Adam's corrections depend on the step; three epochs of one batch, restated."""
    made = fold()
    cfg = config({"hidden": []}, batch_size=100, precision="float64")
    state = train(cfg, Data((made,), 3), None, 0, seed=0, replicates=1).state
    first = weights(cfg, state)
    w = np.vstack([first["0.weight"][0], first["0.bias"][0]])
    x = np.hstack([made.x_train.astype(float), np.ones((61, 1))])
    m, v = np.zeros_like(w), np.zeros_like(w)
    for step in (1, 2, 3):
        odds = np.exp(x @ w)
        odds /= odds.sum(axis=1, keepdims=True)
        g = x.T @ (odds - np.eye(3)[made.y_train]) / 61
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - 0.01 * m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        state = train(cfg, Data((made,), 3), state, step, seed=0, replicates=1).state
    np.testing.assert_allclose(weights(cfg, state)["0.weight"][0], w[:-1], rtol=1e-9)


def test_validation_and_weights_agree(data: Data) -> None:
    cfg = config({"batch_norm": "before", "dropout": 0.2})
    progress = train(cfg, data, None, 3, seed=0, replicates=3)
    made = data.folds[0]
    found = evaluate(cfg, weights(cfg, progress.state), made.x_val, made.y_val)
    np.testing.assert_array_equal(found["loss"], progress.metrics["val_loss"])
    np.testing.assert_array_equal(found["accuracy"], progress.metrics["val_accuracy"])


def test_running_statistics_follow_the_batches() -> None:
    """One batch of all rows: momentum 0.1 of its mean and of its unbiased variance."""
    made = fold()
    cfg = config({"hidden": [4], "batch_norm": "before"}, batch_size=100, precision="float64")
    start = train(cfg, Data((made,), 3), None, 0, seed=0, replicates=1)
    z = made.x_train.astype(float) @ weights(cfg, start.state)["0.weight"][0]
    found = weights(cfg, train(cfg, Data((made,), 3), None, 1, seed=0, replicates=1).state)
    np.testing.assert_allclose(found["0.mean"][0], 0.1 * z.mean(axis=0))
    np.testing.assert_allclose(found["0.variance"][0], 0.9 + 0.1 * z.var(axis=0, ddof=1))


def test_history(data: Data) -> None:
    progress = train(config(), data, None, 4, seed=0, replicates=2)
    rest = {name for name in progress.history if not name.startswith("health/")}
    assert rest == {*METRICS, "learning_rate", "epoch_seconds", "validation_seconds"}
    assert {values.shape for values in progress.history.values()} == {(4, 2)}
    assert (progress.history["learning_rate"] == 0.01).all()
    assert not progress.finished
    for name in METRICS:
        np.testing.assert_array_equal(progress.history[name][-1], progress.metrics[name])
    assert (progress.metrics["parameters"] == 6 * 7 + 7 + 7 * 5 + 5 + 5 * 3 + 3).all()
    seconds = progress.metrics["predict_seconds"]
    assert (seconds > 0).all()
    # there is no batch norm to fold
    np.testing.assert_array_equal(progress.metrics["folded_predict_seconds"], seconds)


def test_nothing_left_to_train(data: Data) -> None:
    whole = train(config(), data, None, 20, seed=0, replicates=2)
    assert whole.epoch == 9
    again = train(config(), data, whole.state, 20, seed=0, replicates=2)
    assert again.finished
    assert again.history["val_loss"].shape == (0, 2)
    for name in METRICS:
        np.testing.assert_array_equal(again.metrics[name], whole.metrics[name])


@pytest.mark.parametrize("stopping", [None, {"patience": 2}])
def test_a_state_survives_a_file_without_pickle(data: Data, stopping: Any) -> None:
    cfg = config(early_stopping=stopping)
    state = train(cfg, data, None, 2, seed=0, replicates=2).state
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **state)
    file.seek(0)
    with np.load(file, allow_pickle=False) as held:
        loaded = dict(held)
    one, other = (train(cfg, data, each, 9, seed=0, replicates=2) for each in (state, loaded))
    np.testing.assert_array_equal(one.state["parameters"], other.state["parameters"])
    np.testing.assert_array_equal(one.metrics["val_loss"], other.metrics["val_loss"])


def test_a_given_state_is_not_written_to(data: Data) -> None:
    state = train(config(), data, None, 1, seed=0, replicates=2).state
    for array in state.values():
        array.flags.writeable = False
    before = pickle.dumps(state)
    train(config(), data, state, 2, seed=0, replicates=2)
    assert pickle.dumps(state) == before


def test_seeds_and_replicates_differ(data: Data) -> None:
    one, other = (train(config(), data, None, 1, seed=s, replicates=2) for s in (0, 1))
    losses = [*one.metrics["val_loss"], *other.metrics["val_loss"]]
    assert len(set(losses)) == 4


class TestDivergence:
    def test_ends_at_once(self, data: Data) -> None:
        cfg = config({"activation": "identity"}, optimizer="sgd", learning_rate=1e30)
        progress = train(cfg, data, None, 9, seed=0, replicates=2)
        assert progress.diverged == progress.epoch == 1
        assert progress.finished
        assert progress.history["train_loss"].shape == (1, 2)

    def test_of_one_replicate_is_the_same_in_links_and_apart(
        self, data: Data, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A rate at which the replicates diverge at different epochs."""
        cfg = config({"activation": "identity", "hidden": [30] * 6}, learning_rate=0.4)
        cfg = config(
            {"activation": "identity", "hidden": [30] * 3}, optimizer="sgd", learning_rate=0.55
        )
        found = train(cfg, data, None, 9, seed=0, replicates=4).diverged
        monkeypatch.setattr("trainer.training.CACHE", 1)
        assert train(cfg, data, None, 9, seed=0, replicates=4).diverged == found


class TestEarlyStopping:
    def test_restores_the_best_weights_of_each_replicate(self, data: Data) -> None:
        cfg = config(early_stopping={"patience": 2}, epochs=60, learning_rate=0.1)
        progress = train(cfg, data, None, 60, seed=0, replicates=3)
        stops = progress.state["stopped"]
        assert (stops > 0).all()
        assert len(set(stops)) > 1, "choose a seed where they stop at different epochs"
        assert progress.epoch == max(stops)
        assert progress.finished
        best = np.nanargmin(progress.history["val_loss"], axis=0)
        np.testing.assert_array_equal(best + 1 + 2, stops)
        for name in METRICS:
            chosen = progress.history[name][best, range(3)]
            np.testing.assert_array_equal(progress.metrics[name], chosen)
        made = data.folds[0]
        found = evaluate(cfg, weights(cfg, progress.state), made.x_val, made.y_val)
        np.testing.assert_array_equal(found["loss"], progress.metrics["val_loss"])

    def test_history_is_nan_after_the_stop(self, data: Data) -> None:
        cfg = config(early_stopping={"patience": 2}, epochs=60, learning_rate=0.1)
        progress = train(cfg, data, None, 60, seed=0, replicates=3)
        epochs = np.arange(1, progress.epoch + 1)[:, None]
        for values in progress.history.values():
            np.testing.assert_array_equal(np.isnan(values), epochs > progress.state["stopped"])

    def test_can_watch_the_accuracy(self, data: Data) -> None:
        cfg = config(early_stopping={"monitor": "val_accuracy", "patience": 3}, epochs=40)
        progress = train(cfg, data, None, 40, seed=0, replicates=2)
        best = np.nanmax(progress.history["val_accuracy"], axis=0)
        np.testing.assert_array_equal(progress.metrics["val_accuracy"], best)


class TestFolds:
    def test_each_replicate_has_its_own(self) -> None:
        """Folds of unequal size; each replicate is what it is with its fold alone."""
        folds = (fold(61, seed=1), fold(60, seed=2), fold(61, seed=3))
        cfg = config({"batch_norm": "after", "dropout": 0.2})
        together = train(cfg, Data(folds, 3), None, 3, seed=0, replicates=3)
        for each in range(3):
            shared = train(cfg, Data((folds[each],), 3), None, 3, seed=0, replicates=3)
            for name in METRICS:
                assert together.metrics[name][each] == shared.metrics[name][each]

    def test_many_small_batches(self) -> None:
        """Several batches a chunk, gathered for each replicate from its own rows."""
        folds = (fold(300, seed=1), fold(300, seed=2))
        together = train(config(), Data(folds, 3), None, 2, seed=0, replicates=2)
        alone = train(config(), Data(folds[1:], 3), None, 2, seed=0, replicates=2)
        assert together.metrics["train_loss"][1] == alone.metrics["train_loss"][1]


@pytest.mark.parametrize("cache", [1, 10**9])
def test_a_cut_by_time_changes_no_bit(
    data: Data, monkeypatch: pytest.MonkeyPatch, cache: int
) -> None:
    """Whether the replicates train together or one after the other."""
    monkeypatch.setattr("trainer.training.CACHE", cache)
    one = config(epochs=4)
    whole = train(one, data, None, 4, seed=1, replicates=3)
    state = None
    reached: list[int] = []
    while not reached or reached[-1] < 4:
        cut = train(one, data, state, 4, seed=1, replicates=3, seconds=0)
        assert len(cut.history["val_loss"]) == 1
        assert np.isfinite(cut.history["val_loss"]).all()
        state = cut.state
        reached.append(cut.epoch)
    assert reached == [1, 2, 3, 4]
    for name, array in whole.state.items():
        if not name.startswith("seconds."):
            np.testing.assert_array_equal(cut.state[name], array, err_msg=name)


def test_batch_norm_needs_two_rows() -> None:
    made = fold()
    one = Fold(made.x_train[:1], made.y_train[:1], made.x_val, made.y_val)
    with pytest.raises(ConfigError, match="one training row"):
        train(config({"batch_norm": "after"}), Data((one,), 3), None, 1, seed=0, replicates=1)


def test_impossible_configurations_raise(data: Data) -> None:
    cfg = config({"batch_norm": "after"}, batch_size=1)
    with pytest.raises(ConfigError, match=r"training\.batch_size: must be at least 2"):
        train(cfg, data, None, 1, seed=0, replicates=1)


def test_double_precision_follows_single(data: Data) -> None:
    """The same start and order; only rounding differs."""
    one, other = (
        train(config(precision=p), data, None, 1, seed=0, replicates=1)
        for p in ("float32", "float64")
    )
    assert one.state["parameters"].dtype == np.float32
    assert other.state["parameters"].dtype == np.float64
    np.testing.assert_allclose(one.metrics["val_loss"], other.metrics["val_loss"], rtol=1e-4)


def test_memory_does_not_grow_with_the_steps(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "worth", lambda _seconds: False)  # compiling takes memory, once
    cfg = config({"batch_norm": "before", "dropout": 0.3, "hidden": [40, 30]}, epochs=50)

    def peak(epochs: int) -> int:
        tracemalloc.start()
        train(cfg, data, None, epochs, seed=0, replicates=2)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2)
    # 304 steps more: one activation kept from each would be 780 kB; the history is 4 kB
    assert peak(40) - peak(2) < 40_000
