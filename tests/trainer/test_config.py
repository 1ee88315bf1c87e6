import pickle
from typing import Any

import pytest

from trainer.config import Config, conflicts
from trainer.reading import check
from trainer.rules import ConfigError, Technique


def test_defaults() -> None:
    config = check(Config, {})
    assert config.model.hidden == (64, 64)
    assert config.model.activation == Technique("relu")
    assert config.training.optimizer["beta2"] == 0.999
    assert config.training.early_stopping is None
    assert check(Config, {"training": {"early_stopping": {}}}).training.early_stopping is not None


def test_a_rate_alone_is_dropout() -> None:
    short, long = (check(Config, {"model": {"dropout": d}}).model for d in (0.3, {"rate": 0.3}))
    assert short == long
    assert (short.dropout.rate, short.dropout.kind.name, short.dropout.input) == (
        0.3,
        "inverted",
        0,
    )


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"model": {"start_from": {"keep": 1}}}, "model.start_from.source: is missing"),
        (
            {"model": {"activation": {"maxout": {"pieces": 1}}}},
            "model.activation.maxout.pieces: must be at least 2, got 1",
        ),
        ({"model": {"dropout": 1.0}}, r"model.dropout.rate: must lie in \[0, 1\), got 1.0"),
        ({"model": {"dropout": {"kind": "gauss"}}}, "model.dropout.kind: must be one of inverted"),
        ({"training": {"max_norm": 0}}, "training.max_norm: must be above 0, got 0"),
        ({"training": {"label_smoothing": 1}}, r"training.label_smoothing: must lie in \[0, 1\)"),
        (
            {"training": {"schedule": {"step": {"factor": 0}}}},
            r"training.schedule.step.factor: must lie in \(0, 1\], got 0",
        ),
        ({"model": {"hidden": [0]}}, "model.hidden.0: must be at least 1"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate: must be above 0"),
        ({"training": {"batch_size": 2.5}}, "training.batch_size: must be a whole number"),
        ({"model": {"activation": "rleu"}}, "did you mean relu"),
    ],
)
def test_mistakes(found: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(Config, found)


def test_conflicts() -> None:
    assert conflicts(check(Config, {"training": {"batch_size": 1}})) == []
    config = check(Config, {"model": {"batch_norm": "after"}, "training": {"batch_size": 1}})
    (problem,) = conflicts(config)
    assert str(problem) == (
        "training.batch_size: must be at least 2 with model.batch_norm after, got 1"
    )


def test_ftrl_has_an_l1_of_its_own() -> None:
    own = {"training": {"optimizer": {"ftrl": {"l1": 0.1}}}}
    assert conflicts(check(Config, own)) == []
    (problem,) = conflicts(check(Config, {"training": {"optimizer": "ftrl", "l1": 0.1}}))
    assert str(problem) == (
        "training.l1: must be 0 with training.optimizer ftrl, which has an l1 of its own, got 0.1"
    )


def test_travels_to_another_process() -> None:
    config = check(Config, {"model": {"activation": {"leaky_relu": {"alpha": 0.3}}}})
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301
