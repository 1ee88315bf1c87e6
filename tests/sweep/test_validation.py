"""What trained nets say of the validation rows agrees with their scores."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import model
from sweep.answers.validation import (
    MOST_POINTS,
    MOST_TARGETS,
    confusion,
    predicted,
    records,
    validation,
)
from sweep.datasets import Datasets
from sweep.recording import confusion_matrix, predicted_vs_observed
from sweep.recording.records import Confusion, Predictions, packed, unpacked
from sweep.scheduling.runner import Advanced, Link, advance
from sweep.spec.study import Study
from trainer import checkpoint
from trainer.arrays import Array


def trained(study: Study, datasets: Datasets) -> tuple[Mapping[str, Any], dict[str, Array]]:
    """The metrics and the model of trial 7, the first configuration trained to its end."""
    plain = study.first_config()
    link = Link(7, plain, study.epochs, study.search.seed, study.replicates)
    outcome, state = advance(link, datasets.data(plain), None)
    assert isinstance(outcome, Advanced)
    assert state is not None
    learnt = datasets.trainers.learnt(plain, state)
    return outcome.metrics, model.arrays(learnt, datasets.splits(plain).preprocessing)


def regression(
    tmp_path: Path, targets: int, rows: int, noise: float, mean: float = 500.0
) -> dict[str, Any]:
    """The fields of a study of numbers that are linear in three features, but for the noise."""
    chance = np.random.default_rng(0)
    x = chance.normal(size=(rows, 3))
    y = mean + 100 * x @ chance.normal(size=(3, targets)) + noise * chance.normal(size=(rows, 1))
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    return {
        "data": {"source": f"npz:{tmp_path / 'rows.npz'}", "task": "regression"},
        "model": {"hidden": []},
        "training": {"epochs": 40, "batch_size": 32, "learning_rate": 0.05},
        "replicates": 2,
    }


@pytest.mark.parametrize("fields", [{"replicates": 2}, {"data": {"folds": 3}, "replicates": 3}])
def test_the_diagonal_is_the_accuracy(
    make_study: Callable[..., Study], tmp_path: Path, fields: dict[str, Any]
) -> None:
    study = make_study(**fields, model={"hidden": [16]}, training={"epochs": 2})
    datasets, plain = Datasets(study), study.first_config()
    metrics, arrays = trained(study, datasets)
    data = datasets.data(plain)
    counts = confusion(predicted(plain, arrays, datasets), data)
    rows = [len(data.fold(each).y_val) for each in range(study.replicates)]
    assert counts.sum() == sum(rows)
    right = np.dot(metrics["val_accuracy"], rows)
    assert np.trace(counts) == pytest.approx(right)

    checkpoint.save(tmp_path / "7.npz", arrays, {"trial": 7, "config": plain})
    (record,) = records({7: tmp_path / "7.npz", 8: tmp_path / "gone.npz"}, datasets, 0)
    assert isinstance(record, Confusion)
    assert (record.trial, record.replicates) == (7, study.replicates)
    assert record.counts == counts.tolist()
    confusion_matrix.draw(record, tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("folds", "mean"), [(None, 500.0), (2, 500.0), (None, 1e6)])
def test_a_linear_net_predicts_what_is_linear(
    make_study: Callable[..., Study], tmp_path: Path, folds: int | None, mean: float
) -> None:
    fields = regression(tmp_path, targets=2, rows=200, noise=0.0, mean=mean)
    study = make_study(**fields | {"data": fields["data"] | {"folds": folds}})
    datasets = Datasets(study)
    _, arrays = trained(study, datasets)
    said = validation(7, study.first_config(), arrays, datasets, 0)
    assert isinstance(said, Predictions)
    assert unpacked(*packed(said)) == replace(said, targets=list(said.targets))
    data = datasets.data(study.first_config())
    every = np.concatenate([data.fold(each).y_val for each in range(2)])
    assert said.rows == len(every) == (160 if folds else 2 * 32)
    assert (said.targets, said.outputs) == (("y0", "y1"), 2)
    np.testing.assert_allclose(said.observed, every.T, atol=0.001 * every.std())  # in their unit
    np.testing.assert_allclose(said.predicted, said.observed, atol=0.02 * every.std())
    assert np.min(said.r2) > 0.999

    figure = predicted_vs_observed.scattered(said, "#7")
    panels = figure.axes
    assert [each.get_title().partition("\n")[0] for each in panels] == ["y0", "y1"]
    for panel, observed, answers in zip(panels, said.observed, said.predicted, strict=True):
        points = np.asarray(panel.collections[0].get_offsets())
        np.testing.assert_array_equal(points.T, [observed, answers])
        assert panel.get_xlim() == panel.get_ylim()
        low, high = panel.get_xlim()
        assert low < points.min() < points.max() < high
        np.testing.assert_array_equal(panel.lines[0].get_data(), [(low, high)] * 2)  # equality
    assert f"validation rows of 2 replicates: {said.rows} points" in figure.get_suptitle()


def test_the_scores_are_those_of_training_and_the_points_are_bounded(
    make_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = make_study(**regression(tmp_path, targets=MOST_TARGETS, rows=4000, noise=100.0))
    datasets = Datasets(study)
    metrics, arrays = trained(study, datasets)
    checkpoint.save(tmp_path / "7.npz", arrays, {"trial": 7, "config": study.first_config()})
    (said,) = records({7: tmp_path / "7.npz", 8: tmp_path / "gone.npz"}, datasets, 0)
    assert isinstance(said, Predictions)
    np.testing.assert_allclose(np.mean(said.r2, axis=0), metrics["val_r2"], atol=1e-4)
    assert 0.1 < np.min(said.r2) < np.max(said.r2) < 0.99
    assert said.rows == 2 * 640
    assert np.shape(said.observed) == np.shape(said.predicted) == (MOST_TARGETS, MOST_POINTS)
    for observed, answers, r2 in zip(said.observed, said.predicted, said.r2, strict=True):
        close = np.corrcoef(observed, answers)[0, 1] ** 2
        assert close == pytest.approx(np.mean(r2), abs=0.05)  # the points belong together
    last = datasets.data(study.first_config()).fold(1).y_val[-1]
    np.testing.assert_allclose([each[-1] for each in said.observed], last, atol=0.1)
    assert len(packed(said)[1]) < 120_000
    assert f"{MOST_POINTS} of 1280 points" in predicted_vs_observed.about(said, "#7")
    predicted_vs_observed.draw(said, tmp_path / "points.png")
    assert (tmp_path / "points.png").read_bytes().startswith(b"\x89PNG")


def test_of_many_targets_the_first_are_shown(
    make_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = make_study(**regression(tmp_path, targets=MOST_TARGETS + 2, rows=100, noise=1.0))
    datasets = Datasets(study)
    _, arrays = trained(study, datasets)
    said = validation(7, study.first_config(), arrays, datasets, 0)
    assert isinstance(said, Predictions)
    assert len(said.targets) == len(said.r2) == len(said.observed) == MOST_TARGETS
    assert "the first 6 of 8 targets" in predicted_vs_observed.about(said, "#7")


def test_what_is_not_finite_is_not_on_record(
    make_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = make_study(**regression(tmp_path, targets=1, rows=100, noise=1.0))
    datasets, plain = Datasets(study), study.first_config()
    _, arrays = trained(study, datasets)
    beyond = arrays | {"0.bias": np.full_like(arrays["0.bias"], np.inf)}
    for number, each in ((7, arrays), (8, beyond)):
        about = {"trial": number, "config": plain}
        checkpoint.save(tmp_path / f"{number}.npz", each, about)
    files = {8: tmp_path / "8.npz", 7: tmp_path / "7.npz"}
    assert [each.trial for each in records(files, datasets, 0)] == [7]
