"""Ray's autoscaler with the node types of `ray_cluster.yaml`, on machines that are pretended.

Ray's own provider for such tests starts a raylet a machine, with the resources of the machine's
type; a GPU is a number there.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config

from sweep.scheduling.placement import BOOTSTRAP
from tests.integration.conftest import ROOT, SMOKE, eventually
from tests.integration.ray_head import Head, free_ports, head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

HEAD_TYPE = "ray.head.default"  # the only name for it that Ray's provider knows
HEAD_ID = "f" * 51 + "0" * 5
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # where all the machines are
SCALES = LOOPBACK | {
    "RAY_FAKE_CLUSTER": "1",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
    "RAY_enable_worker_prestart": "0",  # they have less cores than they say
}

NODES = "nodes: "
WATCH = f"""
import json, sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
while True:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    print({NODES!r} + json.dumps(nodes), flush=True)
    time.sleep(0.3)
"""

TRAIN = """
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
task = ray.remote(max_retries=0, num_cpus=1, num_gpus=1)(lambda: time.sleep(2))
ray.get([task.remote() for _ in range(3)])
"""


def description(file: dict[str, Any], port: int) -> dict[str, Any]:
    """The cluster of a file, with pretended machines that are idle for seconds, not minutes."""
    types = {
        HEAD_TYPE if name == file["head_node_type"] else name: each
        | {"node_config": {}, "resources": each["resources"] | {"object_store_memory": 10**8}}
        for name, each in file["available_node_types"].items()
    }
    provider = {
        "type": "external",  # what `fake_multinode` means, whose defaults are not in Ray's wheel
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "launch_multiple": True,
        "head_node_id": HEAD_ID,
        "gcs_address": f"127.0.0.1:{port}",
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    }
    return {
        **prepare_config(file),
        "provider": provider,
        "available_node_types": types,
        "head_node_type": HEAD_TYPE,
        "idle_timeout_minutes": 0.1,
        "file_mounts": {},
    }


@pytest.fixture
def file() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text("utf-8"))
    return loaded


@pytest.fixture
def cluster(tmp_path: Path, file: dict[str, Any]) -> Iterator[Head]:
    (port,) = free_ports(1)
    bootstrap = tmp_path / BOOTSTRAP  # where `ray up` puts it, and a sweep looks for it
    bootstrap.write_text(yaml.safe_dump(description(file, port)), encoding="utf-8")
    options = [f"--autoscaling-config={bootstrap}", "--num-cpus=0"]
    with head(tmp_path, *options, port=port, environment=SCALES) as made:
        yield made


@pytest.fixture
def machines(cluster: Head, file: dict[str, Any]) -> Iterator[Callable[[], Counter[str]]]:
    """Counts the workers that are there, by their type."""
    kinds = {
        (each["resources"].get("CPU"), each["resources"].get("GPU")): name
        for name, each in file["available_node_types"].items()
        if name != file["head_node_type"]
    }
    seen = cluster.home / "seen"

    def count() -> Counter[str]:
        whole, _, _ = seen.read_text(encoding="utf-8").rpartition("\n")
        *_, last = [NODES + "[]", *(line for line in whole.splitlines() if line.startswith(NODES))]
        nodes = json.loads(last.removeprefix(NODES))
        resources = [(each.get("CPU"), each.get("GPU")) for each in nodes]
        return Counter(kinds[each] for each in resources if each in kinds)

    with seen.open("wb") as output, child(cluster, "-c", WATCH, cluster.address, to=output):
        yield count


@contextmanager
def child(
    cluster: Head, *arguments: object, to: BinaryIO | None = None
) -> "Iterator[subprocess.Popen[bytes]]":
    """A process that may talk to the cluster; killed at the end."""
    environment = cluster.environment(cluster.token) | {
        **LOOPBACK,
        "HOME": str(cluster.home),
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
    }
    command = [sys.executable, *map(str, arguments)]
    with subprocess.Popen(command, env=environment, cwd=cluster.home, stdout=to) as process:
        try:
            yield process
        finally:
            process.kill()


def test_machines_come_for_the_trials_that_need_them_and_go(
    cluster: Head, machines: Callable[[], Counter[str]]
) -> None:
    long = ["--set", "training.epochs=100", "--set", "search.pruner=none"]
    wants = ["--set", "resources.cpu=8", "--trials", "4", "--address", cluster.address]
    with child(cluster, "-m", "sweep", "run", SMOKE, *long, *wants) as sweep:
        eventually(lambda: machines() == {"cpu_worker": 2}, 90)
        assert sweep.wait(200) == 0
    with child(cluster, "-c", TRAIN, cluster.address) as trains:
        eventually(lambda: machines()["gpu_worker"] == 3, 90)
        assert trains.wait(100) == 0
    eventually(lambda: not machines(), 90)
