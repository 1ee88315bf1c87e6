"""A worker of a cluster: Ray, until it is stopped or its head has gone.

    python -m cluster.worker [OPTIONS OF ray start]

comes back when Ray has started, and leaves a process behind that ends what Ray leaves behind when
the head has gone (its agents, with Ray 2.60).
"""

import subprocess
import sys
import time
from collections.abc import Sequence

from cluster import service
from cluster.ray import LOOK_SECONDS, PROGRAM, Ray


def serve(options: Sequence[str]) -> None:
    """Runs Ray until it ends.

    Raises:
        NotStarted: it could not be started.
    """
    ray = Ray("raylet", options, {})
    try:
        while ray.runs():
            time.sleep(LOOK_SECONDS)
    finally:
        ray.stop()
    subprocess.run([PROGRAM, "stop"], check=False)


if __name__ == "__main__":
    sys.exit(service.run("cluster.worker", lambda options, _: serve(options)))
