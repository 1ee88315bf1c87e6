"""A trainer of the user's on a worker, with a check of all that it returns.

Whatever breaks the rules of `trainer.protocol` raises here, beside the code that did it, so that
the trial fails with the reason and the driver never sees what it can't use.
"""

import operator
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweep.scheduling.runner import Link
from trainer.arrays import Array
from trainer.data import Data
from trainer.protocol import Progress, Trainer
from trainer.state import State

LOOKED_AT = 2
"""Rows that a trained trainer predicts, to see that it can."""


class TrainerError(ValueError):
    """A trainer of the user's has returned what the protocol does not allow."""


@dataclass(frozen=True)
class OwnMaker:
    """Makes trainers of the user's (see `sweep.scheduling.runner.Maker`).

    Attributes:
        name: `MODULE:CLASS`.
        made_by: the class.
        needed: the metrics that a trial is judged by.
        digest: what tells this version of its module from others.
        modules: the module, or the package that it is in, whose code travels.
    """

    name: str
    made_by: type[Any]
    needed: tuple[str, ...]
    digest: str
    modules: tuple[str, ...]

    def equipped(self) -> None:
        """Nothing is known of what it needs on a graphics card."""

    def own(self, config: Mapping[str, Any]) -> Trainer:
        """The user's trainer of a plain configuration, as it is."""
        made: Trainer = self.made_by(**config["model"])
        return made

    def trainer(self, link: Link) -> Trainer:
        """The trainer of a link, with its check."""
        epochs = int(link.config["training"]["epochs"])
        return Checked(self.own(link.config), self.name, self.needed, epochs)

    def environment(self, link: Link) -> dict[str, Any]:
        """The version of the user's code."""
        return {"trainer": self.digest}


@dataclass(frozen=True)
class Checked:
    """A trainer that does as another does, or raises `TrainerError`.

    It times the epochs, and puts their number into the state.
    """

    own: Trainer
    name: str
    needed: tuple[str, ...]
    epochs: int

    def train(
        self, data: Data, state: State | None, until: int, *, seed: int, replicates: range
    ) -> Progress:
        """As `Trainer.train`; the trainer may write to its state."""
        before = 0 if state is None else int(state["epoch"])
        if state is not None:  # what comes from Ray's store is read-only
            state = {name: np.array(array) for name, array in state.items()}
        started = time.perf_counter()
        found = self.own.train(data, state, until, seed=seed, replicates=replicates)
        seconds = time.perf_counter() - started
        if not isinstance(found, Progress):
            raise self._broken("train", "a trainer.protocol.Progress", type(found).__name__)
        epoch = self._whole(found.epoch, "epoch")
        if not before < epoch <= until:
            raise self._broken("train", f"an epoch above {before} and up to {until}", epoch)
        shape = (epoch - before, len(replicates))
        diverged = None if found.diverged is None else self._whole(found.diverged, "diverged")
        an_epoch = np.full(shape, seconds / shape[0] / shape[1])
        done = bool(found.finished) or diverged is not None or epoch >= self.epochs
        progress = Progress(
            self._state(found.state) | {"epoch": np.array(epoch)},
            epoch,
            {"epoch_seconds": an_epoch} | self._numbers(found.history, "history", shape),
            {"epoch_seconds": an_epoch[0]} | self._numbers(found.metrics, "metrics", shape[1:]),
            diverged,
            done,
        )
        if missing := [name for name in self.needed if name not in progress.metrics]:
            there = ", ".join(progress.metrics)
            raise self._broken("train", f"metrics with {', '.join(missing)}", there)
        if done and diverged is None:
            self._try(progress.state, data, len(replicates))
        return progress

    def predict_proba(self, state: State, x: Array) -> Array:
        """As `Trainer.predict_proba`."""
        return np.asarray(self.own.predict_proba(state, x))

    def _try(self, state: State, data: Data, count: int) -> None:
        """Predicts a few rows: of the winner it would be too late to know that it can't."""
        x = np.asarray(data.fold(0).x_val[:LOOKED_AT])
        found, shape = self.predict_proba(state, x), (count, len(x), data.classes)
        if found.shape != shape or found.dtype.kind not in "biuf":
            rule = f"numbers of shape {shape} (replicates, rows, classes)"
            raise self._broken("predict_proba", rule, _described(found))

    def _state(self, given: object) -> State:
        arrays = {name: np.asarray(each) for name, each in self._mapping(given, "state").items()}
        for name, array in arrays.items():
            if array.dtype.hasobject:
                rule = f"arrays of numbers, booleans or strings, state[{name!r}] among them"
                raise self._broken("train", rule, _described(array))
        return arrays

    def _numbers(self, given: object, field: str, shape: tuple[int, ...]) -> dict[str, Array]:
        axes = "(epochs, replicates)" if len(shape) == 2 else "(replicates,)"
        found = {name: np.asarray(each) for name, each in self._mapping(given, field).items()}
        for name, array in found.items():
            if array.shape != shape or array.dtype.kind not in "biuf":
                rule = f"numbers of shape {shape} {axes} in {field}[{name!r}]"
                raise self._broken("train", rule, _described(array))
        return {name: array.astype(np.float64) for name, array in found.items()}

    def _mapping(self, given: object, field: str) -> Mapping[str, Any]:
        if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
            raise self._broken("train", f"{field} by name", type(given).__name__)
        return given

    def _whole(self, given: Any, field: str) -> int:
        try:
            return operator.index(given)
        except TypeError:
            raise self._broken("train", f"a whole number as {field}", given) from None

    def _broken(self, method: str, rule: str, found: object) -> TrainerError:
        return TrainerError(f"{self.name}.{method} must return {rule}, got {found}")


def _described(array: Array) -> str:
    return f"{array.dtype} {array.shape}"
