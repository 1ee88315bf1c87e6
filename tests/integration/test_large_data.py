"""Data larger than a worker's share of memory: on each machine's disk, once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.datasets import Datasets, share
from sweep.scheduling.ray_runner import RayRunner
from sweep.scheduling.runner import Advanced, Link, LocalRunner, Outcome, Runner
from sweep.spec.study import Study, check
from tests.integration.conftest import SMOKE, Sweep
from tests.integration.machines import machines, quiet
from trainer.selection import Selection

pytestmark = quiet

SHARE = 0.0001
"""GiB, of which digits has four times as much."""


def study(memory: float | None, **values: Any) -> Study:
    training = {"epochs": 3}
    return check({"name": "a", "training": training, "resources": {"memory": memory}, **values})


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The driver's machine, on which nothing trains, and another with a disk of its own."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    monkeypatch.setenv("XDG_CACHE_HOME", str(ours))
    with machines(num_cpus=0) as made:
        made.add_node(num_cpus=2, env_vars={"XDG_CACHE_HOME": str(theirs)})
        yield made.address, theirs / "sweep" / "tables"


def test_the_share_is_what_is_set_aside_or_the_object_store_s_part() -> None:
    assert share(study(0.5).resources) == 2**29
    whole, half = (study(None, resources={"cpu": each}) for each in (1024, 0.5))
    assert share(half.resources) < share(whole.resources)


def test_a_container_has_the_memory_that_it_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("sweep.datasets.CONTAINER", limit)
    resources = study(None, resources={"cpu": 1024}).resources
    free = share(resources)
    limit.write_text("max\n")
    assert share(resources) == free
    limit.write_text(f"{2**30}\n")
    assert share(resources) == int(0.3 * 2**30) < free


def test_larger_data_lie_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small, large = Datasets(study(None)), Datasets(study(SHARE))
    assert not small.data(study(None).first_config()).tables
    assert isinstance(large.data(study(SHARE).first_config()).folds[0].x_val, Selection)
    assert small.digest == large.digest
    wide = Datasets(study(5 * SHARE, data={"folds": 5}))  # each fold has all rows
    assert wide.data(study(None).first_config()).tables


@pytest.mark.parametrize("preprocess", ["standardize", "pca"])
def test_images_count_at_the_size_that_they_are_resized_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preprocess: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = {"resize": {"height": 16, "width": 12}, "preprocess": preprocess}
    # three times as many pixels: what holds the digits as they come does not hold these
    large, small = study(5 * SHARE, data=data), study(20 * SHARE, data=data)
    disk, memory = Datasets(large), Datasets(small)
    assert not Datasets(study(5 * SHARE)).data(large.first_config()).tables
    assert disk.data(large.first_config()).tables
    assert not memory.data(small.first_config()).tables
    config = large.first_config()
    for one, other in zip(disk.data(config).folds, memory.data(config).folds, strict=True):
        np.testing.assert_array_equal(np.asarray(one.x_train), other.x_train)
        np.testing.assert_array_equal(np.asarray(one.x_val), other.x_val)
    np.testing.assert_array_equal(disk.splits(config).test()[0], memory.splits(config).test()[0])
    found = []
    for each in (disk, memory):
        runner = LocalRunner(each)
        runner.submit(Link(0, config, 2, seed=0, replicates=2))
        found += _outcomes(runner, 1)
        runner.close()
    np.testing.assert_array_equal(found[0].history["val_loss"], found[1].history["val_loss"])


def test_another_machine_gets_the_rows_once_and_trains_the_same_bits(
    cluster: tuple[str, Path],
) -> None:
    address, tables = cluster
    large = study(SHARE)
    here = Datasets(study(None))
    runners: list[Runner] = [
        LocalRunner(here),
        RayRunner(Datasets(large), large.resources, address),
    ]
    found: list[list[Advanced]] = []
    for runner in runners:
        for number in range(3):
            runner.submit(Link(number, large.first_config(), 3, seed=0, replicates=2))
        found.append(_outcomes(runner, 3))
        runner.close()
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.history["val_loss"], other.history["val_loss"])
    assert len(list(tables.glob("*.npy"))) == 1


def _outcomes(runner: Runner, count: int) -> list[Advanced]:
    found: list[Outcome] = []
    while len(found) < count:
        found += runner.wait(0.2)
    trained = [each for each in found if isinstance(each, Advanced)]
    assert len(trained) == count, found
    return sorted(trained, key=lambda each: each.number)


@pytest.mark.slow
def test_a_sweep_with_its_data_on_disk_ends_as_one_in_memory(tmp_path: Path) -> None:
    shown = []
    for name, more in (("memory", []), ("disk", [f"--set=resources.memory={SHARE}"])):
        sweep = Sweep(tmp_path / name, None, XDG_CACHE_HOME=str(tmp_path / f"{name} cache"))
        sweep("run", SMOKE, "--trials=3", "--set=search.reproducible=true", *more)
        shown.append(sweep.show("smoke"))
        assert (tmp_path / f"{name} cache/sweep/tables").exists() == (name == "disk")
    memory, disk = ([each["values"] for each in found["trials"]] for found in shown)
    assert memory == disk
    assert shown[0]["test"]["values"] == shown[1]["test"]["values"]
