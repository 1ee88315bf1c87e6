"""What each further worker costs of a machine's memory, with data in memory and on disk."""

import math
import sys
import tempfile
import time
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

    The figures are growths of the sum of the proportional set sizes (PSS) of all processes of the
    sweep, in which each page counts once however many share it. In memory, Ray's object store holds
    the data, once for all workers; on disk they map them, and the system may drop what is mapped.
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
            ("extra", "memory per extra worker"),
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
    """Megabytes and seconds of one worker, and what three more add while all train an epoch."""
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
    peaks = []
    with closing(RayRunner(datasets, study.resources, None)) as runner:
        runner.slots()
        for count, first in ((1, 0), (WORKERS, 1)):
            for number in range(first, first + count):
                runner.submit(Link(number, study.first_config(), 1, 0, study.replicates))
            left, peak, began = count, 0.0, time.perf_counter()
            while left:
                left -= len(runner.wait(LOOK_SECONDS))
                peak = max(peak, _whole())
            peaks.append(peak)
            if count == 1:
                seconds = time.perf_counter() - began
        store = ray.cluster_resources()["object_store_memory"]
        free = ray.available_resources().get("object_store_memory", 0.0)
    data, own = datasets.data(study.first_config()).folds[0], psutil.Process().memory_info()
    return {
        "size": 4 * (data.x_train.shape[0] + data.x_val.shape[0]) * data.x_train.shape[1] / 1e6,
        "extra": (peaks[1] - peaks[0]) / (WORKERS - 1),
        "store": (store - free) / 1e6,
        "driver": (own.rss - own.shared) / 1e6,
        "seconds": seconds,
    }


def _whole() -> float:
    """The proportional set sizes of this process and all that it has started, added up, in MB."""
    here = psutil.Process()
    total = 0.0
    for each in (here, *here.children(recursive=True)):
        try:
            total += each.memory_full_info().pss / 1e6
        except psutil.Error:  # it has ended
            continue
    return total
