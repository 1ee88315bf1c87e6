"""Links as Ray tasks: what workers know, what they share, and what happens when one dies."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest
import ray
import threadpoolctl

from sweep.datasets import Datasets
from sweep.scheduling.ray_runner import RayRunner, RayUnavailable
from sweep.scheduling.runner import Advanced, Link, LocalRunner, Lost, Outcome, Raised, Runner
from sweep.spec.fields import Resources
from sweep.spec.study import check
from sweep.spec.study_file import load
from tests.integration.conftest import SMOKE
from trainer.data import Data


@pytest.fixture(scope="module")
def datasets() -> Datasets:
    return Datasets(check(load(SMOKE)))


@pytest.fixture(scope="module")
def runner(ray_address: str, datasets: Datasets) -> Iterator[RayRunner]:
    made = RayRunner(datasets, Resources(cpu=1, gpu=0, memory=None, timeout=None), ray_address)
    yield made
    made.close()


@pytest.fixture
def config() -> dict[str, Any]:
    study = check({**load(SMOKE), "model": {"hidden": [16]}, "training": {"epochs": 9}})
    return study.config({})


def next_outcome(runner: Runner) -> Outcome:
    for _ in range(300):
        outcomes = runner.wait(0.2)
        if outcomes:
            (outcome,) = outcomes
            return outcome
    raise AssertionError("no outcome within a minute")


def test_links_on_ray_give_the_bits_of_this_process(
    runner: RayRunner, datasets: Datasets, config: dict[str, Any]
) -> None:
    here = LocalRunner(datasets)
    for until in (1, 3, 9):
        found = []
        for each in (runner, here):
            each.submit(Link(0, config, until, seed=0, replicates=2))
            outcome = next_outcome(each)
            assert isinstance(outcome, Advanced)
            assert (outcome.number, outcome.epoch) == (0, until)
            found.append(outcome)
        for name in ("train_loss", "val_loss", "val_accuracy"):
            np.testing.assert_array_equal(found[0].history[name], found[1].history[name])
    for name, array in here.state(0).items():
        if not name.startswith("seconds."):
            np.testing.assert_array_equal(runner.state(0)[name], array)
    runner.forget(0)


def test_workers_import_no_service_and_read_the_data_without_a_copy(
    runner: RayRunner, config: dict[str, Any]
) -> None:
    def look(data: Data) -> tuple[list[str], bool, int]:
        heavy = {"mlflow", "optuna", "sklearn", "matplotlib", "sqlalchemy", "click"}
        x = data.folds[0].x_train
        threads = max(each["num_threads"] for each in threadpoolctl.threadpool_info())
        return sorted(heavy & set(sys.modules)), bool(x.flags.owndata or x.flags.writeable), threads

    heavy, copied, threads = ray.get(ray.remote(look).remote(runner._reference(config)))
    assert heavy == []
    assert not copied
    assert threads == 1


def test_an_exception_comes_back_with_its_traceback(
    runner: RayRunner, config: dict[str, Any]
) -> None:
    impossible = {**config, "model": {**config["model"], "hidden": [10**11]}}
    runner.submit(Link(1, impossible, 1, seed=0, replicates=1))
    outcome = next_outcome(runner)
    assert isinstance(outcome, Raised)
    assert outcome.error.startswith("Traceback")
    assert "MemoryError" in outcome.error
    runner.forget(1)


def test_a_link_whose_worker_dies_is_lost_and_can_be_trained_again(
    runner: RayRunner, config: dict[str, Any]
) -> None:
    long = {**config, "training": {**config["training"], "epochs": 10**6}}
    runner.submit(Link(2, config, 1, seed=0, replicates=1))
    first = next_outcome(runner)
    assert isinstance(first, Advanced)
    runner.submit(Link(2, long, 10**6, seed=0, replicates=1))
    assert runner.wait(0.5) == []
    os.kill(_busy_worker(), signal.SIGKILL)
    assert isinstance(next_outcome(runner), Lost)
    runner.submit(Link(2, config, 3, seed=0, replicates=1))
    again = next_outcome(runner)
    assert isinstance(again, Advanced)
    assert again.epoch == 3
    assert len(again.history["val_loss"]) == 2  # from the state after the first epoch
    runner.forget(2)
    runner.submit(Link(2, config, 3, seed=0, replicates=1))
    anew = next_outcome(runner)
    assert isinstance(anew, Advanced)
    np.testing.assert_array_equal(again.history["val_loss"], anew.history["val_loss"][1:])
    runner.forget(2)


def _busy_worker() -> int:
    """The process that is training: of our Ray's workers the one with the most processor time."""
    workers = [
        each
        for each in psutil.Process().children(recursive=True)
        if any("ray::advance" in part for part in each.cmdline())
    ]
    for each in workers:
        each.cpu_percent()
    time.sleep(0.5)
    return max(workers, key=lambda each: each.cpu_percent()).pid


def test_a_cluster_that_does_not_answer_is_told_at_once(datasets: Datasets) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(RayUnavailable, match=f"Ray at {address}: .*refused"):
            RayRunner(datasets, Resources(cpu=1, gpu=0, memory=None, timeout=None), address)
