"""The descriptions of clusters pass Ray's own validation, and ask for the token everywhere."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.ray import ENVIRONMENT

ROOT = Path(__file__).parents[2]
FILES = ("ray_cluster.yaml", "ray_cluster_local.yaml")


def load(file: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("file", FILES)
def test_ray_accepts_it(file: str) -> None:
    validate_config(prepare_config(load(file)))  # as `ray up` does


def test_ray_would_refuse_a_field_that_it_does_not_know() -> None:
    with pytest.raises(Exception, match="unheard_of"):
        validate_config(prepare_config(load(FILES[0]) | {"unheard_of": 1}))


@pytest.mark.parametrize("file", FILES)
def test_every_ray_that_is_started_asks_for_the_token(file: str) -> None:
    config = load(file)
    assert "-m cluster.worker" in config["worker_start_ray_commands"][-1]
    head = config["head_start_ray_commands"][-1]
    assert "-m cluster.head" in head
    assert ENVIRONMENT["RAY_AUTH_MODE"] == "token"
    assert "--dashboard-host=127.0.0.1" in head


@pytest.mark.parametrize("file", FILES)
def test_every_machine_is_set_up_from_the_lock_file(file: str) -> None:
    config = prepare_config(load(file))
    setups = [config["head_setup_commands"], config["worker_setup_commands"]]
    types = config["available_node_types"].values()
    setups += [each["worker_setup_commands"] for each in types if "worker_setup_commands" in each]
    assert all("~/sweep/cluster/setup.sh" in each for each in setups)
    setup = (ROOT / "cluster" / "setup.sh").read_text(encoding="utf-8")
    assert "make .venv/ready" in setup  # which installs requirements.lock
    assert "chmod 600 ~/.ray/auth_token" in setup


def test_workers_of_the_cloud_form_come_from_none_to_a_maximum() -> None:
    config = load("ray_cluster.yaml")
    types = config["available_node_types"]
    assert all("resources" in each for each in types.values())
    workers = {name: each for name, each in types.items() if name != config["head_node_type"]}
    assert any(each["resources"].get("GPU") for each in workers.values())
    assert any(not each["resources"].get("GPU") for each in workers.values())
    for each in workers.values():
        assert each["min_workers"] == 0 < each["max_workers"]
        assert each["resources"]["CPU"] > 0


@pytest.mark.parametrize("file", FILES)
def test_five_things_are_the_user_s(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8").partition("cluster_name")[2]
    assert [f"({number})" in text for number in range(1, 7)] == [True] * 5 + [False]
