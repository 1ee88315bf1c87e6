"""Where links fit: on the nodes that are there, and on those that the cluster can still raise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from sweep.spec.fields import Resources

GIB = 2**30

BOOTSTRAP = "ray_bootstrap_config.yaml"
"""The cluster's own description, which `ray up` puts into the home folder of its head."""


@dataclass(frozen=True)
class NodeType:
    """A kind of machine, what one has by Ray's names, and how many there may be."""

    name: str
    resources: Mapping[str, float]
    most: int


def fitting(node: Mapping[str, float], resources: Resources) -> int:
    """How many links fit on one node. A node type that states no memory is taken to have enough."""
    wanted = {"CPU": resources.cpu, "GPU": resources.cards}
    fits = [int(node.get(name, 0) / each + 1e-9) for name, each in wanted.items() if each]
    if resources.memory and "memory" in node:
        fits.append(int(node["memory"] / (resources.memory * GIB) + 1e-9))
    return min(fits)


def cards(alive: Sequence[Mapping[str, float]], resources: Resources) -> int:
    """How many links fit that have a card each, on the nodes that are there.

    None is raised for them: a card is used where it is free.
    """
    return sum(fitting(node, replace(resources, gpu=1.0)) for node in alive)


def slots(
    alive: Sequence[Mapping[str, float]], types: Sequence[NodeType], most: int, resources: Resources
) -> int:
    """How many links fit at once, if every node came that may come.

    Links that are submitted beyond the nodes that are there are the demand that raises more.

    Args:
        alive: what each node that is there has.
        types: the kinds of workers that the cluster can raise.
        most: how many workers there may be of all kinds together.
        resources: what a link takes.
    """
    here = sum(fitting(node, resources) for node in alive)
    room, coming = most, 0
    for each in sorted(types, key=lambda each: -fitting(each.resources, resources)):
        count = min(each.most, room)
        coming += count * fitting(each.resources, resources)
        room -= count
    return max(here, coming)


def raisable(home: Path) -> tuple[list[NodeType], int]:
    """The kinds of workers that the cluster of this head can raise, and how many in all.

    Args:
        home: the home folder of the user that runs the cluster's head.
    """
    try:
        text = (home / BOOTSTRAP).read_text(encoding="utf-8")
    except OSError:
        return [], 0
    config: Mapping[str, Any] = yaml.safe_load(text)
    head = config.get("head_node_type")
    most = int(config.get("max_workers", 0))
    types = [
        NodeType(name, each.get("resources", {}), int(each.get("max_workers", most)))
        for name, each in config.get("available_node_types", {}).items()
        if name != head
    ]
    return types, most


def refusal(types: Sequence[NodeType], resources: Resources) -> str:
    """Why no machine will ever hold a link."""
    wanted = f"cpu {resources.cpu:g} and gpu {resources.cards:g}"
    if resources.memory:
        wanted += f" and {resources.memory:g} GiB of memory"
    kinds = ", ".join(each.name for each in types)
    return f"no machine has {wanted} (resources)" + (f"; nor has any of {kinds}" if kinds else "")
