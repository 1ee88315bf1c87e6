"""The peers in the comparison of sweeps, as their documentation shows them.

Both get what makes them quicker without changing what is done: their studies are in memory, and
they train in one call and report its epochs afterwards. Optuna alone writes a run's metrics in one
batch, or, as most people do, with a call for each epoch.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import TPESampler

from benchmarks import trials
from trainer.data import Data

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
optuna.logging.set_verbosity(optuna.logging.ERROR)


def store() -> str:
    """Makes MLflow's database in this folder, as it is there in all sweeps but the first."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    MlflowClient(uri).search_experiments()
    return uri


def _sampler() -> TPESampler:
    return TPESampler(seed=0, multivariate=True, group=True, constant_liar=True)


def optuna_alone(count: int, recorded: bool, batched: bool = True) -> dict[str, Any]:
    """`study.optimize` in this one process, with or without a run in MLflow for each trial."""
    import mlflow
    from mlflow import MlflowClient

    mlflow.set_tracking_uri(store())
    experiment = mlflow.create_experiment("digits", (Path.cwd() / "mlartifacts").as_uri())
    client = MlflowClient()
    data = trials.data()

    def objective(trial: optuna.Trial) -> float:
        params = trials.suggested(trial)
        outcome, state = trials.trained(params, data)
        if recorded:
            with mlflow.start_run(experiment_id=experiment, run_name=f"#{trial.number}") as run:
                mlflow.log_params(params)
                if batched:
                    client.log_batch(run.info.run_id, _metrics(outcome))
                else:
                    for step, measured in enumerate(trials.epochs(outcome), 1):
                        mlflow.log_metrics(measured, step)
                with tempfile.TemporaryDirectory() as folder:
                    _write(Path(folder), params, state)
                    mlflow.log_artifacts(folder)
        return trials.final(outcome)

    study = optuna.create_study(direction="maximize", sampler=_sampler())
    trials.trained(trials.suggested(study.ask()), data)  # warms up, as the others' workers do not
    study = optuna.create_study(direction="maximize", sampler=_sampler())
    began = time.monotonic()
    study.optimize(objective, n_trials=count)
    seconds = time.monotonic() - began
    return {"seconds": seconds, "trials": [(each.params, each.value) for each in study.trials]}


def _metrics(outcome: Any) -> list[Any]:
    from mlflow.entities import Metric

    now = time.time_ns() // 1_000_000
    return [
        Metric(name, value, now, step)
        for step, measured in enumerate(trials.epochs(outcome), 1)
        for name, value in measured.items()
    ]


def _write(folder: Path, params: trials.Params, state: Any) -> None:
    import yaml

    from trainer.config import Config
    from trainer.rules import build
    from trainer.state import weights

    config = trials.study().config(params)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    arrays = weights(build(Config, config), state)
    np.savez(folder / "weights.npz", allow_pickle=False, **arrays)


def ray_tune(count: int, recorded: bool) -> dict[str, Any]:
    """Ray Tune with OptunaSearch on a local Ray, with or without its MLflow callback.

    The weights are the checkpoint of a trial's last report.
    """
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    folder = Path.cwd()
    study = trials.study()

    def trainable(params: dict[str, Any], data: Data) -> None:
        outcome, state = trials.trained(params, data)
        *before, last = trials.epochs(outcome)
        for measured in before:
            tune.report(measured)
        with tempfile.TemporaryDirectory() as written:
            _write(Path(written), params, state)
            tune.report(last, checkpoint=tune.Checkpoint.from_directory(written))

    ray.init(num_cpus=trials.SLOTS, include_dashboard=False, log_to_driver=False)
    callback = MLflowLoggerCallback(store(), experiment_name="digits")
    search = OptunaSearch(trials.suggested, study.metric, "max", sampler=_sampler())
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(trainable, data=trials.data()), {"cpu": 1}),
        tune_config=tune.TuneConfig(search_alg=search, num_samples=count, reuse_actors=True),
        run_config=tune.RunConfig(
            "digits", storage_path=str(folder), callbacks=[callback] * recorded, verbose=0
        ),
    )
    began = time.monotonic()
    results = tuner.fit()
    seconds = time.monotonic() - began
    ray.shutdown()
    return {
        "seconds": seconds,
        "trials": [(each.config, each.metrics[study.metric]) for each in results],
    }
