"""What a newcomer waits for, and what workers cost: budgets rather than peers.

The peer of a time is its budget; the peer of ten workers with a large data set is the same workers
with a small one.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.report import Row, row

HELP_SECONDS = 0.5
STUDY_SECONDS = 90.0
WORKERS = 10
LARGE_MB, SMALL_MB = 256, 1


def run(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """The help, the default study with everything recorded, the memory of ten workers."""
    rows = [_timed("python -m sweep --help, s", ["--help"], HELP_SECONDS, runs=5)]
    if not quick:
        rows.append(_timed("the default study, recorded, s", ["run"], STUDY_SECONDS, runs=3))
    large, small = (_own_memory(megabytes) for megabytes in (LARGE_MB, SMALL_MB))
    name = f"a worker's own memory, {WORKERS} reading {LARGE_MB} MB against {SMALL_MB} MB, MB"
    rows.append(row(name, large, small, large / small, 1.1))
    return rows, {}


def _timed(name: str, arguments: list[str], budget: float, runs: int) -> Row:
    seconds = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "sweep", *arguments],
                env={**os.environ, "SWEEP_WORKSPACE": folder},
                check=True,
                capture_output=True,
            )
            seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    return row(name, median, budget, median / budget, 1.0)


def _own_memory(megabytes: int) -> float:
    """The median over ten workers of the memory that is theirs alone, in MB, while all read."""
    command = [sys.executable, "-c", f"from benchmarks.start import readers; readers({megabytes})"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    own: list[float] = json.loads(output.splitlines()[-1])
    return statistics.median(own)


def readers(megabytes: int) -> None:
    """Prints what each of ten workers uses once all of them have read the data."""
    import numpy as np
    import psutil
    import ray

    from trainer.data import Data, Fold

    rows = megabytes * 250
    x, y = np.ones((rows, 1000), np.float32), np.zeros(rows, np.int64)
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)

    class Reader:
        def read(self, data: Data) -> float:
            self.data = data
            return float(sum(each.x_train.sum() + each.x_val.sum() for each in data.folds))

        def memory(self) -> float:
            return float(psutil.Process().memory_full_info().uss / 1e6)

    data = ray.put(Data((Fold(x, y, x[:1], y[:1]),), 2))
    workers = [ray.remote(num_cpus=1)(Reader).remote() for _ in range(WORKERS)]
    ray.get([each.read.remote(data) for each in workers])
    print(json.dumps(ray.get([each.memory.remote() for each in workers])))
    sys.stdout.flush()
    ray.shutdown()
