"""What MLflow is told: figures over replicates, times, names and values within its limits."""

import warnings

import numpy as np
import pytest

from sweep.recording.projection import (
    LONGEST_NAME,
    LONGEST_PARAM,
    Point,
    cut,
    described,
    mean_and_sd,
    name_of,
    points,
    project,
    written,
)
from sweep.recording.records import Epochs, SweepEnded, SweepStarted, TrialEnded, TrialStarted

NAN = float("nan")


def link(first: int, **history: list[list[float]]) -> Epochs:
    return Epochs(7, first, {name: np.array(rows) for name, rows in history.items()}, 10_000)


def values(found: list[Point], name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in found if point.name == name]


def test_mean_and_sd_over_the_replicates_at_each_epoch() -> None:
    found = points(link(4, val_loss=[[1, 2, 6], [2, 2, 2]]))
    assert values(found, "val_loss") == [(4, 3.0), (5, 2.0)]
    (four, sd), five = values(found, "val_loss_sd")
    assert (four, five) == (4, (5, 0.0))
    assert sd == pytest.approx(np.sqrt(7))


def test_a_replicate_that_stopped_is_left_out() -> None:
    found = points(link(1, val_loss=[[1, NAN, 3], [1, NAN, NAN], [NAN, NAN, NAN]]))
    assert values(found, "val_loss")[:2] == [(1, 2.0), (2, 1.0)]
    assert np.isnan(values(found, "val_loss")[2][1])
    ((step, sd),) = values(found, "val_loss_sd")
    assert step == 1
    assert sd == pytest.approx(np.sqrt(2))


def test_one_replicate_has_no_spread() -> None:
    assert {point.name for point in points(link(1, val_loss=[[1], [2]]))} == {"val_loss"}


def test_rates_and_times_have_no_spread() -> None:
    found = points(link(1, learning_rate=[[0.1, 0.1]], epoch_seconds=[[1, 2]]))
    assert {point.name for point in found} == {"learning_rate", "epoch_seconds"}


def test_infinity_raises_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mean, sd = mean_and_sd(np.array([[np.inf, 1.0], [NAN, NAN]]))
    assert mean[0] == np.inf
    assert np.isnan(mean[1])
    assert np.isnan(sd).all()


def test_a_point_has_the_time_at_which_its_epoch_ended() -> None:
    found = points(link(1, val_loss=[[1], [1], [1]], epoch_seconds=[[5.0], [0.5], [2.0]]))
    assert [p.at_ms for p in found if p.name == "val_loss"] == [7_500, 8_000, 10_000]


def test_without_epoch_times_all_points_have_the_time_of_the_link() -> None:
    assert {point.at_ms for point in points(link(1, val_loss=[[1], [1]]))} == {10_000}


@pytest.mark.parametrize(
    "name", ["val_loss", "health/gradient norm.1", "a-b:c", "ünïcode", "x" * LONGEST_NAME]
)
def test_a_legal_name_is_kept(name: str) -> None:
    assert name_of(name) == name


@pytest.mark.parametrize(
    "name", ["a?b", "a*b", "/a", "../a", "a//b", "a/../b", "", ".", "a\nb", "x" * 251, "x" * 252]
)
def test_any_other_name_becomes_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    mapped = name_of(name)
    _validate_metric_name(mapped)
    _validate_param_name(mapped)
    assert len(mapped) <= LONGEST_NAME


def test_two_names_never_become_one() -> None:
    names = ["a?b", "a*b", "a_b", "x" * 251, "x" * 252, "/a", "a", "../a"]
    assert len({name_of(name) for name in names}) == len(names)


def test_a_long_value_is_cut_and_says_so() -> None:
    assert cut("x" * LONGEST_PARAM, LONGEST_PARAM) == "x" * LONGEST_PARAM
    short = cut("x" * 10_000, LONGEST_PARAM)
    assert len(short) == LONGEST_PARAM
    assert short.endswith("x… (10000 characters)")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (1e-05, "1e-05"), (3, "3"), ("relu", "relu")],
)
def test_values_are_written_as_in_yaml(value: str | float | None, text: str) -> None:
    assert written(value) == text


def test_the_records_of_a_trial_come_to_one_change() -> None:
    changes = project(
        [
            TrialStarted(7, "#7 elu", {"model.dropout": 0.5}, "model: {}\n", 1000, {"host": "a"}),
            link(1, val_loss=[[1.0, 2.0]]),
            TrialEnded(
                7, "pruned", 1, 3000, "too slow", 0.5, [0.4, 0.6], {"size": 10}, weights="w/7.npz"
            ),
        ]
    )
    assert (changes.name, changes.start_ms, changes.end_ms) == ("#7 elu", 1000, 3000)
    assert changes.status == "FINISHED"
    assert changes.params == {"model.dropout": "0.5"}
    assert changes.tags["sweep.state"] == "pruned"
    assert changes.tags["sweep.reason"] == "too slow"
    assert changes.tags["host"] == "a"
    assert changes.texts == {"config.yaml": "model: {}\n"}
    assert changes.files == {"weights.npz": "w/7.npz"}
    figures = {point.name: (point.step, point.value) for point in changes.points}
    assert figures["value"] == (1, 0.5)
    assert figures["value_sd"][1] == pytest.approx(np.sqrt(0.02))
    assert figures["size"] == (1, 10)
    assert figures["val_loss"] == (1, 1.5)


@pytest.mark.parametrize(
    ("state", "status"),
    [("complete", "FINISHED"), ("pruned", "FINISHED"), ("failed", "FAILED"), ("stopped", "KILLED")],
)
def test_the_status_of_a_run_follows_the_trial(state: str, status: str) -> None:
    changes = project([TrialEnded(7, state, 0, 5, error="Traceback")])
    assert changes.status == status
    assert changes.texts == {"error.txt": "Traceback"}


def test_the_last_end_of_a_trial_stands() -> None:
    first, last = TrialEnded(7, "stopped", 1, 5, "interrupted"), TrialEnded(7, "complete", 9, 8)
    changes = project([first, last])
    assert (changes.status, changes.end_ms) == ("FINISHED", 8)
    assert (changes.tags["sweep.state"], changes.tags["sweep.reason"]) == ("complete", "")


def test_a_sweep_that_goes_on_is_running_again() -> None:
    started, ended = SweepStarted("Why?", "name: x\n", 1), SweepEnded("stopped", 2)
    assert project([started, ended]).status == "KILLED"
    again = project([ended, started])
    assert (again.status, again.end_ms, again.tags["sweep.state"]) == ("RUNNING", None, "running")
    assert again.texts == {"study.yaml": "name: x\n"}


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (
            TrialEnded(1, "complete", 27, 0, value=0.5, values=[0.25, 0.75]),
            "complete after 27 epochs; value 0.5000 ± 0.3536 (replicates: 2)",
        ),
        (
            TrialEnded(1, "complete", 27, 0, value=2.5e-6, values=[2e-6, 3e-6]),
            "value 2.5e-06 ± 7.1e-07 (replicates: 2)",
        ),
        (TrialEnded(1, "pruned", 1, 0, "diverged at epoch 1"), "pruned after 1 epoch: diverged"),
        (TrialEnded(1, "complete", 2, 0, value=NAN, values=[NAN]), "value nan (replicates: 1)"),
    ],
)
def test_how_a_trial_ended_in_one_line(end: TrialEnded, text: str) -> None:
    assert text in described(end)
