"""What a prediction takes is timed, of the net as it is and folded; both predict the same."""

import itertools
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from trainer.config import Config
from trainer.convolution import Image
from trainer.data import Data
from trainer.network import network
from trainer.prediction import Evaluation, network_of
from trainer.state import weights
from trainer.tasks import CLASSIFICATION
from trainer.timing import PASSES, folded, quickest
from trainer.training import train

CNN = {"architecture": {"cnn": {"channels": [2]}}}
DATA = Data((fold(features=16),), 3, Image(1, 4, 4))


def evaluations(cfg: Config) -> tuple[Evaluation, Evaluation | None]:
    """Of a trained net, as it is and folded."""
    found = weights(cfg, train(cfg, DATA, None, 2, seed=0, replicates=2).state)
    rows = DATA.folds[0].x_val[None].astype(np.float64), DATA.folds[0].y_val[None]
    image = DATA.image if cfg.model.channels else None
    net = network(cfg.model, inputs=16, classes=3, image=image)
    return (
        Evaluation(network_of(cfg, found), found, *rows),
        folded(cfg, net, found, *rows, image, None),
    )


@pytest.mark.parametrize("model", [{}, CNN], ids=["mlp", "cnn"])
def test_a_folded_net_predicts_the_same(model: dict[str, Any]) -> None:
    plain, other = evaluations(config({"batch_norm": "before"} | model, precision="float64"))
    assert other is not None
    (loss, accuracy), (same, as_good) = plain(), other()
    np.testing.assert_allclose(same, loss, rtol=1e-9)
    np.testing.assert_array_equal(as_good, accuracy)


def test_without_batch_norm_there_is_nothing_to_fold() -> None:
    assert evaluations(config(precision="float64"))[1] is None
    after = config({"batch_norm": "after"} | CNN, precision="float64")
    assert evaluations(after)[1] is None  # see `fold`


def test_scoring_is_no_part_of_a_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = evaluations(config(precision="float64"))
    plain()

    def scored(*_: Any) -> None:
        raise AssertionError("scored")

    for name in ("fill", "score", "share"):
        monkeypatch.setattr(CLASSIFICATION, name, scored)
    assert quickest(plain) > 0
    with pytest.raises(AssertionError, match="scored"):
        plain()


def test_the_quickest_pass_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = evaluations(config(precision="float64"))
    looked: list[int] = []
    plain.look = lambda: looked.append(1)
    times = iter([0.0, 5.0, 10.0, 12.0, 20.0, 24.0])
    monkeypatch.setattr("trainer.timing.time.perf_counter", lambda: next(times))
    assert quickest(plain) == 2.0
    assert next(times, None) is None
    assert PASSES == 3
    assert not looked


def test_both_are_timed_at_the_end_if_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = itertools.count(1)
    monkeypatch.setattr("trainer.training.quickest", lambda _evaluation: float(next(counts)))

    def seconds(until: int, *, timed: bool) -> list[list[float]]:
        cfg = config({"batch_norm": "after"}, epochs=2)
        found = train(cfg, DATA, None, until, seed=0, replicates=2, timed=timed).metrics
        return [found[f"{name}predict_seconds"].tolist() for name in ("", "folded_")]

    for until, timed in ((1, True), (2, False)):
        plain, folded_too = seconds(until, timed=timed)
        assert plain == folded_too  # of the last validation
    assert next(counts) == 1  # nothing was timed
    assert seconds(2, timed=True) == [[1.0, 1.0], [1.5, 1.5]]  # of two at once
