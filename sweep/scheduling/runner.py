"""Who trains the links of trials: the port, its messages, and a runner in this very process.

A *link* trains one trial from the state of its last link to the next rung. A runner keeps the state
of every trial it was given until it is told to forget the trial; the loop sees small messages only.
"""

import math
import platform
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from sweep.spec.fields import Resources
from trainer import kernels
from trainer.config import Config
from trainer.data import Data
from trainer.device import DeviceError, installed, opened
from trainer.net import Net
from trainer.protocol import Trainer
from trainer.rules import build
from trainer.state import State

LONGEST_CAUSE = 300
"""Characters of what was raised that the reason of a failed trial has."""


@dataclass(frozen=True)
class Link:
    """What to train: a trial's plain configuration, up to `until` completed epochs.

    After `seconds` of training it ends with the epoch, so that the state can be saved. Its
    replicates are those numbered from `first` on.

    `threads` is how many BLAS may use, `gpu` whether it trains on a graphics card: parts of the
    link, because the bits depend on them.

    `ahead` is how many links like it its worker may expect, this one included; 0 if that is not
    known.
    """

    number: int
    config: Mapping[str, Any]
    until: int
    seed: int
    replicates: int
    threads: int = 1
    gpu: bool = False
    first: int = 0
    seconds: float = math.inf
    ahead: int = 0


@dataclass(frozen=True)
class Advanced:
    """A link that was trained.

    `history[name]` is `(E, R)`, its rows the epochs `epoch - E + 1 … epoch`; `metrics[name]` is
    `(R,)`, the trial's result if it ended here. `diverged` is the epoch at which a replicate's loss
    stopped being finite; `finished` says that nothing is left to train, `hopeless` that the link
    ended sooner because no training can help; `seconds` is what it took its worker, which was
    `cold` if it had trained nothing on this kind of device before; `host` is the machine, and
    `environment` what the bits of its numbers depend on.
    """

    number: int
    epoch: int
    history: Mapping[str, NDArray[np.floating]]
    metrics: Mapping[str, NDArray[np.floating]]
    diverged: int | None
    finished: bool
    seconds: float
    environment: Mapping[str, Any] = field(default_factory=dict)
    host: str = ""
    hopeless: bool = False
    cold: bool = False

    def timings(self, elapsed: float) -> dict[str, float]:
        """Where the seconds went that have `elapsed` since the link was submitted.

        `training` and `validation` are those of the epochs; `handover` is the rest on the worker,
        where the state is taken up and given back; `waiting` is what it was not at work, because
        it was in the queue or its state was on the way.
        """
        epochs, validation = (
            float(np.nansum(self.history.get(name, 0.0)))
            for name in ("epoch_seconds", "validation_seconds")
        )
        return {
            "training": epochs - validation,
            "validation": validation,
            "handover": max(0.0, self.seconds - epochs),
            "waiting": max(0.0, elapsed - self.seconds),
        }

    def figures(self) -> dict[str, float]:
        """The means over replicates in the last epoch, of what is finite."""
        last = {name: values[-1:] for name, values in self.history.items()}
        finite = {name: row[np.isfinite(row)] for name, row in last.items()}
        return {name: float(row.mean()) for name, row in finite.items() if row.size}


@dataclass(frozen=True)
class Raised:
    """A link that ended in an exception, with its traceback.

    `unequipped` says that it was to train on a card which can't be used.
    """

    number: int
    error: str
    unequipped: bool = False

    @property
    def cause(self) -> str:
        """What was raised: the last line of the traceback, if it is long its beginning."""
        last = self.error.rstrip().rpartition("\n")[2]
        return last if len(last) <= LONGEST_CAUSE else f"{last[: LONGEST_CAUSE - 1]}…"


@dataclass(frozen=True)
class Lost:
    """A link that was lost with its worker or node; the trial's last state may be lost too."""

    number: int
    error: str


Outcome = Advanced | Raised | Lost


class Maker(Protocol):
    """Makes the trainers of links. It travels to the workers, so it holds little."""

    @property
    def modules(self) -> Sequence[str]:
        """The modules whose code must travel with it: workers need not have them."""

    def equipped(self) -> None:
        """Makes sure that this machine has what training on its graphics card takes.

        Raises:
            DeviceError: it has not.
        """

    def trainer(self, link: Link) -> Trainer:
        """The trainer of a link's configuration."""

    def environment(self, link: Link) -> Mapping[str, Any]:
        """What the bits of a link's numbers depend on, beside what `environment` says."""


@dataclass(frozen=True)
class NetMaker:
    """Makes nets of ours: `timed` if their predictions are, `judged` if trials may be pruned."""

    timed: bool = False
    judged: bool = False
    modules = ()

    def equipped(self) -> None:
        """Looks for CuPy."""
        installed()

    def trainer(self, link: Link) -> Trainer:
        """The net of a link's configuration."""
        device = opened() if link.gpu else None
        return Net(build(Config, link.config), device, link.seconds, self.timed, self.judged)

    def environment(self, link: Link) -> Mapping[str, Any]:
        """The card, if it trains on one."""
        return {"gpu": opened().card} if link.gpu else {}


NETS: Maker = NetMaker()


class Datasets(Protocol):
    """The data by configuration, and who trains on them (see `sweep.datasets`)."""

    @property
    def maker(self) -> Maker:
        """What makes the trainers of links."""

    def key(self, config: Mapping[str, Any]) -> str:
        """What distinguishes the data of this configuration from those of others."""

    def data(self, config: Mapping[str, Any]) -> Data:
        """The training and validation rows for a configuration."""


class StateLost(RuntimeError):
    """A trial's state was lost with the machine that held it."""


class Runner(Protocol):
    """Trains links. Used from one thread; owns the states of the trials."""

    def slots(self) -> int:
        """How many links can be trained at the same time, now."""

    def cards(self) -> int:
        """How many of them on a card, where that is chosen trial by trial."""

    def submit(self, link: Link) -> None:
        """Starts a link from the state of the trial's last link; returns at once."""

    def wait(self, seconds: float) -> list[Outcome]:
        """The outcomes that have come in; waits up to `seconds` for the first."""

    def state(self, number: int) -> State:
        """The state after the trial's last link that was trained.

        Raises:
            StateLost: it can't be reached any more.
        """

    def holds(self, number: int) -> bool:
        """Whether a trial's next link will start from a state."""

    def adopt(self, number: int, state: State) -> None:
        """Takes a state over: the trial's next link starts from it."""

    def cancel(self, number: int) -> None:
        """Drops a trial's link, if one is under way; the state before it stays."""

    def forget(self, number: int) -> None:
        """Drops a trial: its state, and its link if one is under way."""

    def close(self) -> None:
        """Gives back what the runner holds; links under way are dropped."""


def advance(
    link: Link, data: Data, state: State | None, maker: Maker = NETS
) -> tuple[Advanced | Raised, State | None]:
    """Trains one link. An exception comes back as `Raised`, with the state as it was."""
    started = time.perf_counter()
    try:
        trainer = maker.trainer(link)
        kernels.expect(link.ahead)
        replicates = range(link.first, link.first + link.replicates)
        with _pools().limit(limits=link.threads):
            progress = trainer.train(data, state, link.until, seed=link.seed, replicates=replicates)
    except Exception as error:
        unequipped = isinstance(error, DeviceError)
        return Raised(link.number, traceback.format_exc(), unequipped), state
    outcome = Advanced(
        link.number,
        progress.epoch,
        progress.history,
        progress.metrics,
        progress.diverged,
        progress.finished,
        time.perf_counter() - started,
        {**environment(link.threads), **maker.environment(link)},
        platform.node(),
        progress.hopeless,
        cold=link.gpu not in _WARM,
    )
    _WARM.add(link.gpu)
    return outcome, progress.state


_WARM: set[bool] = set()
"""Whether this process has trained on a card, and on a processor."""


@cache
def _pools() -> ThreadpoolController:
    """The thread pools of the libraries in this process; finding them takes milliseconds."""
    return ThreadpoolController()


@cache
def environment(threads: int) -> dict[str, Any]:
    """What the bits of a link's numbers depend on, beside the link: library, kernel, threads."""
    pools = [pool for pool in _pools().info() if pool["user_api"] == "blas"]
    own = [pool for pool in pools if "numpy" in pool["filepath"]] or pools
    blas = own[0] if own else {}
    return {
        "numpy": np.__version__,
        "blas": " ".join(str(blas.get(each)) for each in ("internal_api", "version")),
        "kernel": blas.get("architecture"),
        "threads": threads,
        "machine": platform.machine(),
    }


class LocalRunner:
    """Trains links one after the other in this process: for debugging and tests."""

    def __init__(
        self, datasets: Datasets, resources: Resources | None = None, address: str | None = None
    ) -> None:
        """Takes what every runner takes; needs the data alone."""
        self._datasets = datasets
        self._states: dict[int, State | None] = {}
        self._waiting: deque[Link] = deque()

    def slots(self) -> int:
        """One."""
        return 1

    def cards(self) -> int:
        """None: there is nothing to choose."""
        return 0

    def submit(self, link: Link) -> None:
        """Puts the link at the end of the queue."""
        self._waiting.append(link)

    def wait(self, seconds: float) -> list[Outcome]:
        """Trains the next link, however long it takes."""
        if not self._waiting:
            return []
        link = self._waiting.popleft()
        data, state = self._datasets.data(link.config), self._states.get(link.number)
        outcome, state = advance(link, data, state, self._datasets.maker)
        self._states[link.number] = state
        return [outcome]

    def state(self, number: int) -> State:
        """The state after the trial's last link."""
        state = self._states[number]
        assert state is not None
        return state

    def holds(self, number: int) -> bool:
        """Whether there is one."""
        return self._states.get(number) is not None

    def adopt(self, number: int, state: State) -> None:
        """Takes a state over."""
        self._states[number] = state

    def forget(self, number: int) -> None:
        """Drops the trial's state and what is queued of it."""
        self._states.pop(number, None)
        self.cancel(number)

    def cancel(self, number: int) -> None:
        """Drops what is queued of the trial."""
        self._waiting = deque(link for link in self._waiting if link.number != number)

    def close(self) -> None:
        """Drops everything."""
        self._states.clear()
        self._waiting.clear()
