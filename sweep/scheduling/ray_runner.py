"""Links as Ray tasks, on this machine or on a cluster.

The data are put into the object store once and read by every worker of a node without a copy, or,
if they are large, lie on each node's disk once and are mapped. A state goes from link to link by
reference and never passes through the driver.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import sweep
import trainer
from sweep.scheduling import placement
from sweep.scheduling.runner import (
    Advanced,
    Datasets,
    Link,
    Lost,
    Maker,
    Outcome,
    Raised,
    StateLost,
    advance,
)
from sweep.scheduling.tables import bring
from sweep.spec.fields import Resources
from trainer.data import Data
from trainer.device import DeviceError
from trainer.state import State

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of states that nobody asks for

REACHED_SECONDS = 10.0
"""How long the head of a cluster may take to answer."""

KEPT = 8
"""How many ways of preprocessing the data are kept in the object store."""

SLOTS_SECONDS = 2.0
"""How long a count of the cluster's slots is good for."""


class RayUnavailable(RuntimeError):
    """No Ray could be started or reached, or it can never hold a link of this study."""


class RayRunner:
    """Trains links as Ray tasks. Starts a local Ray, or joins the one at `address`."""

    def __init__(self, datasets: Datasets, resources: Resources, address: str | None) -> None:
        import ray

        self._resources = resources
        self._chooses = resources.automatic
        if resources.gpu and address is None:
            try:
                datasets.maker.equipped()
            except DeviceError as error:
                if not resources.automatic:
                    raise RayUnavailable(f"resources.gpu: {error}") from error
                self._chooses = False
        # The code travels with the job: the cluster's machines need not have it.
        modules = [_where(sys.modules[name]) for name in datasets.maker.modules]
        modules += [_where(sweep), _where(trainer)] if address is not None else []
        travels = {"runtime_env": {"py_modules": modules}} if modules else {}
        if address is not None:
            _look_for(address)
        try:
            if address is None:
                ray.init(
                    address="local",
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="error",
                    num_cpus=_cores(),
                    **travels,
                )
            else:
                ray.init(address=address, log_to_driver=False, logging_level="error", **travels)
        except KeyboardInterrupt:
            ray.shutdown()
            raise
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise RayUnavailable(f"Ray at {address or 'this machine'}: {error}") from error
        home = ray.get_runtime_context().get_node_id()
        task = ray.remote(max_retries=0, num_returns=2)(_training_with(datasets.maker, home))
        memory = int(resources.memory * placement.GIB) if resources.memory else None
        options = {"name": "advance", "num_cpus": resources.cpu, "memory": memory}
        self._tasks = {
            False: task.options(**options),
            True: task.options(**options, num_gpus=resources.cards or 1),
        }
        # What an address names may be the cluster of this head, which can raise nodes.
        self._types, self._most = placement.raisable(Path.home()) if address else ([], 0)
        self._datasets = datasets
        self._references: dict[str, Any] = {}
        self._states: dict[int, Any] = {}
        self._pending: dict[Any, tuple[int, Any]] = {}
        self._counted = -SLOTS_SECONDS
        self._slots = self._cards = 0
        if self.slots() == 0:
            ray.shutdown()
            raise RayUnavailable(placement.refusal(self._types, resources))

    def slots(self) -> int:
        """How many links fit on the nodes that are alive or can be raised, counted now and then."""
        self._count()
        return self._slots

    def cards(self) -> int:
        """How many of them on a card of a node that is alive, if that is chosen trial by trial."""
        self._count()
        return self._cards

    def _count(self) -> None:
        import ray

        now = time.monotonic()
        if now - self._counted < SLOTS_SECONDS:
            return
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._slots = placement.slots(nodes, self._types, self._most, self._resources)
        self._cards = placement.cards(nodes, self._resources) if self._chooses else 0
        self._counted = now

    def submit(self, link: Link) -> None:
        """Submits the link's task; the state of the last link is passed by reference."""
        state = self._states.get(link.number)
        outcome, state = self._tasks[link.gpu].remote(link, self._reference(link.config), state)
        self._pending[outcome] = (link.number, state)

    def _reference(self, config: Mapping[str, Any]) -> Any:
        """The data for a configuration in the object store; the oldest give way to new ones."""
        import ray

        key = self._datasets.key(config)
        if key not in self._references:
            if len(self._references) == KEPT:
                del self._references[next(iter(self._references))]
            self._references[key] = ray.put(self._datasets.data(config))
        return self._references[key]

    def wait(self, seconds: float) -> list[Outcome]:
        """The outcomes of all tasks that are done."""
        import ray

        if not self._pending:
            return []
        waiting = list(self._pending)
        done, _ = ray.wait(waiting, num_returns=1, timeout=seconds)
        if done:
            done, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return [self._settled(outcome) for outcome in done]

    def _settled(self, reference: Any) -> Outcome:
        import ray

        number, state = self._pending.pop(reference)
        try:
            outcome: Advanced | Raised = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            return Raised(number, str(error))
        except ray.exceptions.RayError as error:
            if isinstance(error, ray.exceptions.ObjectLostError):
                self._states.pop(number, None)
            self._counted = -SLOTS_SECONDS  # its node may be gone
            return Lost(number, f"{type(error).__name__}: {error}")
        self._states[number] = state
        return outcome

    def state(self, number: int) -> State:
        """Fetches the state after the trial's last link."""
        import ray

        try:
            state: State = ray.get(self._states[number])
        except ray.exceptions.RayError as error:
            raise StateLost(str(error)) from error
        return state

    def holds(self, number: int) -> bool:
        """Whether there is a reference to one."""
        return number in self._states

    def adopt(self, number: int, state: State) -> None:
        """Puts a state into the object store."""
        import ray

        self._states[number] = ray.put(state)

    def forget(self, number: int) -> None:
        """Drops the references to the trial's state, and cancels its task if one is under way."""
        self._states.pop(number, None)
        self.cancel(number)

    def cancel(self, number: int) -> None:
        """Cancels the trial's task, if one is under way."""
        import ray

        for reference, (owner, _) in list(self._pending.items()):
            if owner == number:
                ray.cancel(reference, force=True)
                del self._pending[reference]

    def close(self) -> None:
        """Leaves the cluster, or ends the local Ray."""
        import ray

        self._states.clear()
        self._pending.clear()
        self._references.clear()
        ray.shutdown()


def _where(module: ModuleType) -> str:
    """The folder or the file of a module: a job copies what it is given, and no module."""
    if hasattr(module, "__path__"):
        return str(module.__path__[0])
    assert module.__file__ is not None
    return module.__file__


def _look_for(address: str) -> None:
    """Makes sure that somebody answers at HOST:PORT: Ray looks for it for minutes.

    Raises:
        RayUnavailable: nobody does.
    """
    host, _, port = address.rpartition(":")
    if "/" in host or not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=REACHED_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise RayUnavailable(f"Ray at {address}: {error}") from error


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


Task = Callable[[Link, Data, State | None], tuple[Advanced | Raised, State | None]]


def _training_with(maker: Maker, home: str) -> Task:
    """The function of all tasks. It goes to each worker once, and the maker with it.

    `home` is the node of the driver.
    """

    def link(link: Link, data: Data, state: State | None) -> Any:
        bring(data.tables, home)
        return advance(link, data, state, maker)

    return link
