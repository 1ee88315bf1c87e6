"""Where links fit, and what is refused because no machine will ever hold it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep.scheduling.placement import BOOTSTRAP, GIB, NodeType, fitting, raisable, refusal, slots
from sweep.spec.fields import Resources

CLUSTER = Path(__file__).parents[2] / "ray_cluster.yaml"


def ask(cpu: float = 1, gpu: float = 0, memory: float | None = None) -> Resources:
    return Resources(cpu=cpu, gpu=gpu, memory=memory, timeout=None)


@pytest.mark.parametrize(
    ("node", "wanted", "fits"),
    [
        ({"CPU": 4}, ask(1), 4),
        ({"CPU": 4}, ask(3), 1),
        ({"CPU": 4}, ask(0.1), 40),
        ({"CPU": 4}, ask(1, gpu=1), 0),
        ({"CPU": 8, "GPU": 1}, ask(1, gpu=0.25), 4),
        ({"CPU": 8, "GPU": 1}, ask(4, gpu=0.25), 2),
        ({"CPU": 8, "memory": 4 * GIB}, ask(1, memory=1.5), 2),
        ({"CPU": 8, "memory": 4 * GIB}, ask(1, memory=5), 0),
        ({"CPU": 8}, ask(1, memory=5), 8),
        ({}, ask(1), 0),
    ],
)
def test_how_many_links_fit_on_a_node(node: dict[str, float], wanted: Any, fits: int) -> None:
    assert fitting(node, wanted) == fits


def test_nodes_that_can_be_raised_count_up_to_the_cluster_s_limit() -> None:
    types = [NodeType("small", {"CPU": 2}, 4), NodeType("big", {"CPU": 8, "GPU": 1}, 2)]
    assert slots([], types, 10, ask(1)) == 4 * 2 + 2 * 8
    assert slots([], types, 3, ask(1)) == 1 * 2 + 2 * 8
    assert slots([], types, 10, ask(1, gpu=0.5)) == 4
    assert slots([], types, 10, ask(16)) == 0
    assert slots([{"CPU": 64}], types, 10, ask(1)) == 64


def test_the_head_of_ray_cluster_yaml_knows_what_it_can_raise(tmp_path: Path) -> None:
    assert raisable(tmp_path) == ([], 0)
    (tmp_path / BOOTSTRAP).write_text(CLUSTER.read_text(encoding="utf-8"), encoding="utf-8")
    types, most = raisable(tmp_path)
    config = yaml.safe_load(CLUSTER.read_text(encoding="utf-8"))
    assert most == config["max_workers"]
    assert {each.name for each in types} == {"cpu_worker", "gpu_worker"}
    assert slots([], types, most, ask(1)) > 0
    assert slots([], types, most, ask(1, gpu=1)) > 0
    impossible = ask(1, gpu=64)
    assert slots([], types, most, impossible) == 0
    assert "gpu 64" in refusal(types, impossible)
    assert "gpu_worker" in refusal(types, impossible)
