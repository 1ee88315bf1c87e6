"""The head of a cluster: PostgreSQL, the MLflow server and Ray, which live and end together.

    python -m cluster.head [OPTIONS OF ray start --head]

comes back when all of them answer, and leaves a process behind that looks after them: PostgreSQL
and MLflow are started again if they end, and end when Ray is stopped (`ray stop`, `ray down`). What
they keep, and what was said, lies in `~/.sweep`.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from cluster import service
from cluster.postgres import RUNS, STUDIES, Postgres
from cluster.ray import LOOK_SECONDS, Ray
from cluster.tracking import Tracking


def serve(options: Sequence[str], folder: Path) -> None:
    """Runs everything until Ray has been stopped.

    Raises:
        NotInstalled: PostgreSQL is not.
        NotStarted: MLflow or Ray could not be started.
        subprocess.CalledProcessError: PostgreSQL could not be.
    """
    with ExitStack() as stack:
        postgres = Postgres(folder)
        tracking = Tracking(folder, postgres.url(RUNS), postgres.passfile)
        stack.callback(postgres.stop)
        postgres.start()
        stack.callback(tracking.stop)
        tracking.start()
        addresses = {
            "SWEEP_STORAGE": postgres.url(STUDIES),
            "PGPASSFILE": str(postgres.passfile),
            "MLFLOW_TRACKING_URI": tracking.uri,
        }
        ray = Ray("gcs_server", ["--head", *options], addresses)
        stack.callback(ray.stop)
        while ray.runs():
            time.sleep(LOOK_SECONDS)
            if not postgres.running():
                postgres.start()
            if not tracking.running():
                tracking.launch()


if __name__ == "__main__":
    sys.exit(service.run("cluster.head", serve))
