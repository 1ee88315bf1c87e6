"""What each worker costs of a machine's memory, with data in memory and on disk."""

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.accuracy import folder
from benchmarks.child import call
from benchmarks.report import Row, row
from trainer.arrays import Array

WORKERS = 4
LOOK_SECONDS = 0.2
FEATURES = 784
BATCH = 512
SYNTHETIC = "benchmarks.memory:synthetic"
SMALL_MB, LARGE_MB = 250, 2000
FOLDS = 5


def run(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Fashion-MNIST, where its files are at hand, and synthetic rows: on disk against in memory.

    In memory, Ray's object store holds the data, once for all workers; on disk they map them, and
    the system may drop what is mapped. Neither counts as a worker's own: that is its anonymous
    memory, at its most while it trains, in the median over the workers.
    """
    megabytes = SMALL_MB if quick else LARGE_MB
    sets: list[tuple[str, str, int, int | None]] = [
        (f"{megabytes} MB of synthetic rows", SYNTHETIC, megabytes, None),
        (f"{SMALL_MB} MB in {FOLDS} folds", SYNTHETIC, SMALL_MB, FOLDS),
    ]
    place = folder() / "fashion-mnist"
    if place.is_dir():
        sets.insert(0, ("Fashion-MNIST", f"idx:{place}", 0, None))
    else:
        print(f"Fashion-MNIST takes no part: no {place}", file=sys.stderr)
    rows, facts = [], {}
    for name, source, size, folds in sets:
        disk, memory = (_child(source, size, folds, on_disk) for on_disk in (True, False))
        for what, title in (
            ("worker", "a worker's own memory"),
            ("store", "what the object store holds"),
            ("driver", "the driver's memory, without what is mapped"),
            ("seconds", "an epoch of one worker, s"),
        ):
            unit = "" if what == "seconds" else ", MB"
            ours, peer = disk[what], memory[what]
            ratio = ours / peer if peer else math.nan
            rows.append(row(f"{name}: {title}{unit}, on disk / in memory", ours, peer, ratio, None))
        facts[name] = f"{memory['size']:.0f} MB"
    return rows, facts


def _child(source: str, megabytes: int, folds: int | None, on_disk: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place:
        found: dict[str, float] = call(
            "benchmarks.memory", "cost", source, megabytes, folds, on_disk, cwd=Path(place)
        )
        return found


def synthetic() -> tuple[Array, Array]:
    """Rows of noise, as many as the file `megabytes` in the current folder says."""
    megabytes = int(Path("megabytes").read_text())
    count = megabytes * 1_000_000 // (4 * FEATURES)
    x = np.random.default_rng(0).random((count, FEATURES), np.float32)
    return x, np.arange(count) % 10


def cost(source: str, megabytes: int, folds: int | None, on_disk: bool) -> dict[str, float]:
    """Megabytes of the workers while all train an epoch, and seconds of one that trains alone."""
    import os

    import ray

    import sweep.datasets
    from sweep.datasets import Datasets
    from sweep.scheduling.ray_runner import RayRunner
    from sweep.scheduling.runner import Link
    from sweep.spec.study import check

    here = Path.cwd()
    (here / "megabytes").write_text(str(megabytes))
    os.environ["XDG_CACHE_HOME"] = str(here)
    study = check(
        {
            "name": "memory",
            "data": {"source": source, "folds": folds},
            "model": {"hidden": [64]},
            "training": {"epochs": 1, "batch_size": BATCH, "optimizer": "sgd"},
            "replicates": folds or 1,
            "resources": {"cpu": (os.cpu_count() or 1) / WORKERS},
        }
    )
    sweep.datasets.STORE = 0.0 if on_disk else 1000.0
    datasets = Datasets(study, allow_code=[SYNTHETIC.partition(":")[0]])
    assert bool(datasets.data(study.first_config()).tables) == on_disk
    own: dict[int, float] = {}
    with closing(RayRunner(datasets, study.resources, None)) as runner:
        runner.slots()
        for count, first in ((1, 0), (WORKERS, 1)):
            for number in range(first, first + count):
                runner.submit(Link(number, study.first_config(), 1, 0, study.replicates))
            left, began = count, time.perf_counter()
            while left:
                left -= len(runner.wait(LOOK_SECONDS))
                for worker, held in _training():
                    own[worker] = max(own.get(worker, 0.0), held)
            if count == 1:
                seconds = time.perf_counter() - began
        store = ray.cluster_resources()["object_store_memory"]
        free = ray.available_resources().get("object_store_memory", 0.0)
    data = datasets.data(study.first_config()).folds[0]
    return {
        "size": 4 * (data.x_train.shape[0] + data.x_val.shape[0]) * data.x_train.shape[1] / 1e6,
        "worker": statistics.median(own.values()),
        "store": (store - free) / 1e6,
        "driver": _own(psutil.Process()),
        "seconds": seconds,
    }


def _training() -> Iterator[tuple[int, float]]:
    """The workers that train now, by their process, and what each has for itself, in MB."""
    for each in psutil.Process().children(recursive=True):
        try:
            if "".join(each.cmdline()).startswith("ray::advance"):
                yield each.pid, _own(each)
        except psutil.Error:  # it has ended
            continue


def _own(process: psutil.Process) -> float:
    """What a process has in MB, without what it maps of files and of the object store."""
    memory = process.memory_info()
    return (memory.rss - memory.shared) / 1e6
