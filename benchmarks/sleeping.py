"""Many trials that only sleep: what the driver and Ray add where slots are many and cores few."""

import math
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.own import Silence, unseen
from benchmarks.sleeper import SECONDS, nap
from sweep.datasets import Datasets
from sweep.pruners import NoPruner
from sweep.scheduling.loop import Loop
from sweep.scheduling.ray_runner import RayRunner
from sweep.scheduling.runner import Link
from sweep.search.search import Search
from sweep.search.storage import Storage
from sweep.spec.study import Study, check

SLOTS = 16


def study(count: int) -> Study:
    """Four parameters."""
    return check(
        {
            "name": "sleeping",
            "model": {"dropout": {"low": 0.0, "high": 0.7}},
            "training": {
                "epochs": 1,
                "learning_rate": {"low": 0.0001, "high": 0.1, "log": True},
                "batch_size": {"low": 16, "high": 256},
                "optimizer": {"choose": ["sgd", "momentum", "adam"]},
            },
            "search": {"trials": count, "sampler": "tpe", "pruner": "none"},
            "replicates": 1,
        }
    )


@contextmanager
def cluster(slots: int) -> Iterator[str]:
    """A Ray with so many slots, whatever the number of cores."""
    from ray.cluster_utils import Cluster

    head = Cluster(initialize_head=True, head_node_args={"num_cpus": slots})
    try:
        yield head.address
    finally:
        head.shutdown()


class Dormitory(RayRunner):
    """Ray's slots, in which trials sleep."""

    def __init__(self, study: Study, address: str) -> None:
        import ray

        super().__init__(Datasets(study), study.resources, address)
        task = ray.remote(max_retries=0, num_returns=2)(nap)
        self._tasks[False] = task.options(num_cpus=study.resources.cpu)

    def open(self, config: Mapping[str, Any]) -> None:
        """Waits until every slot has a process that has slept."""
        for _ in range(2):
            for number in range(-self.slots(), 0):
                self.submit(Link(number, config, 1, 0, 1))
            left = self.slots()
            while left:
                left -= len(self.wait(SECONDS))


def slept(count: int, slots: int = SLOTS) -> dict[str, float]:
    """Seconds that the sweep takes after its start, and those that sleeping alone would take.

    And seconds of processor that its driver takes, and the megabytes it ever had.
    """
    chosen = study(count)
    storage = Storage(Path("trials.log"), chosen.name, directions=chosen.directions)
    search = Search(chosen, storage)
    with cluster(slots) as address, closing(Dormitory(chosen, address)) as runner:
        assert runner.slots() == slots
        runner.open(chosen.first_config())
        began, worked = time.monotonic(), time.process_time()
        Loop(chosen, search, runner, NoPruner(), Silence(), unseen).run()
        seconds, processor = time.monotonic() - began, time.process_time() - worked
    return {
        "seconds": seconds,
        "ideal": math.ceil(count / slots) * SECONDS,
        "processor": processor,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def ray_tune(count: int) -> dict[str, Any]:
    """Ray Tune with OptunaSearch, the same parameters and slots."""
    import optuna
    import ray
    from optuna.samplers import TPESampler
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    from sweep.search.samplers import distribution

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    chosen = study(count)
    space = {each.name: distribution(each) for each in chosen.parameters()}

    def sleep(_params: dict[str, Any]) -> None:
        time.sleep(SECONDS)
        tune.report({"val_accuracy": float(np.random.default_rng().random())})

    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_resources(sleep, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(space, "val_accuracy", "max", sampler=TPESampler(seed=0)),
            num_samples=count,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig("sleeping", storage_path=str(Path.cwd()), verbose=0),
    )
    began = time.monotonic()
    tuner.fit()
    seconds = time.monotonic() - began
    ray.shutdown()
    return {"seconds": seconds, "ideal": math.ceil(count / SLOTS) * SECONDS}
