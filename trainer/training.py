"""Training: a pure function from a configuration, data and a state to the state epochs later."""

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext

import numpy as np

from trainer.arrays import Array
from trainer.config import Config, conflicts, elsewhere
from trainer.data import Data, few
from trainer.device import Device
from trainer.diagnosis import hopeless
from trainer.group import Group, Rows
from trainer.health import Health, settled
from trainer.history import History
from trainer.misfits import misfits
from trainer.network import Network, above, noise
from trainer.optimisers import OPTIMISERS
from trainer.prediction import Evaluation, inputs, stacked
from trainer.protocol import Progress
from trainer.reestimation import Reestimation
from trainer.rules import ConfigError
from trainer.schedules import MONITORED, factors, follow
from trainer.selection import Features, Selection
from trainer.state import SECONDS, State, begun, frozen
from trainer.targets import standardised
from trainer.tasks import REGRESSION, metrics
from trainer.timing import folded, quickest
from trainer.transfer import learnt_before, mapped

CACHE = 4 << 20
"""Bytes of parameters, gradients and moments that replicates trained together may have.

Measured on processors with 1 MiB of second-level cache a core: at 0.3 MiB a replicate sixteen
together are still the cheapest, at 0.8 MiB three to six, at 1.7 MiB two to four, at 3.7 MiB one.
"""


def train(
    config: Config,
    data: Data,
    state: State | None,
    until: int,
    *,
    seed: int,
    replicates: int,
    first: int = 0,
    device: Device | None = None,
    seconds: float = math.inf,
    timed: bool = False,
    judged: bool = False,
) -> Progress:
    """Trains all replicates until so many epochs are completed, or all have stopped early.

    Args:
        config: the net and its training.
        data: one fold for all replicates, or one for each; never written to.
        state: where to go on from; None starts anew. Never written to.
        until: epochs completed at the end; at most `training.epochs`.
        seed: the study's seed, the same for all trials.
        replicates: R.
        first: the number of the first of them; they draw from the streams first … first + R - 1.
        device: the GPU to train on (`device.opened`); None trains on the processor. States are
            the same plain arrays either way.
        seconds: ends before `until`, with the first epoch that is completed after so long; of no
            influence on the bits of what is reached by going on.
        timed: whether predictions are timed with care, as the net is and folded, when replicates
            have been trained to their end; else both metrics are the last validation's seconds.
        judged: whether it returns when no training can help, which it looks for after epochs
            1, 2, 4, 8, … if all replicates are trained together.

    Raises:
        ConfigError: the configuration is impossible.
    """
    problems = conflicts(config) + misfits(config, data)
    if device is not None:
        problems += elsewhere(config)
    if problems:
        raise ConfigError(problems)
    net = above(
        config.model,
        inputs=data.folds[0].x_train.shape[1],
        classes=data.outputs,
        binary=config.training.binary,
        image=data.image,
    )
    if state is None:
        state = begun(config, net, data, seed=seed, replicates=range(first, first + replicates))
    else:
        state = {name: np.array(array) for name, array in state.items()}
    if config.model.frozen:
        data = mapped(data, config, frozen(state))
    if (per_class := config.training.per_class) is not None:
        data = few(data, per_class, seed=seed, replicates=range(first, first + replicates))
    until = min(until, config.training.epochs)
    flags = {"timed": timed, "judged": judged}
    run = _Run(config, net, data, state, until, (seed, first), device, seconds, **flags)
    # a loss that overflows is a result: `diverged`
    with np.errstate(all="ignore"), device.stream if device else nullcontext():
        return run()


class _Run:
    """One call of `train`; moves `state` in place."""

    def __init__(
        self,
        config: Config,
        net: Network,
        data: Data,
        state: State,
        until: int,
        streams: tuple[int, int],
        device: Device | None,
        seconds: float,
        *,
        timed: bool,
        judged: bool,
    ) -> None:
        self._config, self._net, self._data, self._device = config, net, data, device
        self._seconds, self._timed, self._judged = seconds, timed, judged
        self._state, self._until = state, until
        self._seed, self._offset = streams
        self._replicates = len(state["parameters"])
        self._first = int(state["epoch"])
        self._metrics = metrics(config.training.task)
        names = (*self._metrics, "learning_rate", "epoch_seconds", "validation_seconds")
        self._history = History(self._first, until, self._replicates, names)
        self._diverged: int | None = None
        self._hopeless = False
        self._last = self._first

    def __call__(self) -> Progress:
        waiting = [(members, self._first) for members in self._groups()]
        while waiting:
            members, epoch = waiting.pop()
            if epoch < self._until:
                epoch = self._train(members, epoch)
                left = [each for each in members if not self._stopped(each)]
                if left:
                    waiting.append((left, epoch))
        state = self._state
        epoch = self._last if self._diverged is None else self._diverged
        state["epoch"] = np.array(epoch)
        reached = {name: state[f"metrics.{name}"].copy() for name in self._metrics}
        learnt = state["parameters"].shape[1] + learnt_before(frozen(state))
        reached["parameters"] = np.full(self._replicates, float(learnt))
        reached |= {f"{name}_seconds": state[f"seconds.{name}"].copy() for name in SECONDS}
        all_stopped = all(self._stopped(each) for each in range(self._replicates))
        finished = (
            self._diverged is not None or all_stopped or epoch >= self._config.training.epochs
        )
        history = self._history.until(epoch)
        return Progress(state, epoch, history, reached, self._diverged, finished, self._hopeless)

    def _stopped(self, replicate: int) -> bool:
        return "stopped" in self._state and bool(self._state["stopped"][replicate])

    def _groups(self) -> Iterable[list[int]]:
        """The replicates that still train, those with equally many rows together.

        As many at a time as fit in the cache, or on the device: of no influence on the bits of
        the processor, and there deterministic.
        """
        by_rows: dict[tuple[int, int], list[int]] = {}
        for each in range(self._replicates):
            if not self._stopped(each):
                fold = self._data.fold(each)
                by_rows.setdefault((len(fold.y_train), len(fold.y_val)), []).append(each)
        slots = len(OPTIMISERS[self._config.training.optimizer.name].slots)
        size = self._state["parameters"][0].nbytes * (2 + slots)
        most = max(1, (CACHE if self._device is None else self._device.room()) // size)
        if self._net.most:  # whose images fill any cache
            most = 1
        for members in by_rows.values():
            for part in np.array_split(members, -(-len(members) // most)):
                yield [int(each) for each in part]

    def _train(self, members: list[int], epoch: int) -> int:
        """Trains these replicates together until the end, a stop or a divergence."""
        state, config = self._state, self._config
        names = ["parameters", "running", *OPTIMISERS[config.training.optimizer.name].slots]
        everyone = len(members) == self._replicates
        arrays = {name: state[name] if everyone else state[name][members] for name in names}
        if self._device is not None:
            arrays = {name: self._device.asarray(array) for name, array in arrays.items()}
        group, evaluation, health = self._prepared(members, arrays, epoch)
        reestimation = None
        if config.model.reestimated:
            reestimation = Reestimation(self._net, group.weights, group.rows.x)
        first = epoch
        seconds = []
        # Those trained after these members take as long, and go no further than they do.
        share = self._seconds * len(members) / self._replicates
        started = time.perf_counter()
        while epoch < self._until:
            epoch += 1
            began = time.perf_counter()
            pace = self._factors(members, epoch, group.steps)
            loss, score = group.train(epoch, pace)
            if reestimation is not None:
                reestimation()
            trained = time.perf_counter()
            values = (loss, score, *evaluation())
            ended = time.perf_counter()
            validated = ended - trained
            seconds.append((ended - began) / len(members))
            noted: dict[str, Array | float] = dict(zip(self._metrics, values, strict=True))
            noted["learning_rate"] = config.training.learning_rate * pace[-1]
            noted["epoch_seconds"] = seconds[-1]
            noted["validation_seconds"] = validated / len(members)
            self._history.note(members, epoch, noted)
            if health is not None:
                momentum = config.model.batch_norm.parameters.get("momentum", 0.0)
                ratios = settled(momentum, epoch * group.steps) or config.model.reestimated
                self._history.note(members, epoch, health.figures(ratios=ratios))
                looks = self._judged and everyone and epoch & (epoch - 1) == 0
                if looks and hopeless(self._history.until(epoch)):
                    self._hopeless, self._until = epoch < self._until, epoch
            if not (np.isfinite(loss).all() and np.isfinite(values[2]).all()):
                self._diverged = self._until = epoch  # the others need not go further
            elif ended - started >= share:
                self._until = min(self._until, max(epoch, self._last))
            if self._follow(members, arrays, epoch, values):
                break
        state["seconds.epoch"][members] = sum(seconds) / (epoch - first)
        predicting = validated, validated
        if self._timed and (epoch >= config.training.epochs or any(map(self._stopped, members))):
            predicting = self._predicting(group, evaluation)
        for name, took in zip(("predict", "folded_predict"), predicting, strict=True):
            state[f"seconds.{name}"][members] = took / len(members)
        self._last = max(self._last, epoch)
        if not everyone or self._device is not None:
            for name, array in arrays.items():
                state[name][members] = self._host(array)
        return epoch

    def _prepared(
        self, members: list[int], arrays: dict[str, Array], epoch: int
    ) -> tuple[Group, Evaluation, Health | None]:
        dtype, device = arrays["parameters"].dtype, self._device
        folds = [self._data.fold(each) for each in members]
        x_train = [fold.x_train for fold in folds]
        y_train, y_val = self._targets(members, dtype)
        rows = Rows(
            tuple(x_train) if device else _typed(x_train, dtype),
            tuple(y_train),
        )
        group = Group(
            self._net,
            self._config.training,
            self._config.model.batch_norm,
            rows,
            arrays,
            replicates=[self._offset + each for each in members],
            seed=self._seed,
            epochs=self._until - epoch,
            image=self._data.image,
            device=device,
        )
        x_val = [fold.x_val for fold in folds]
        x = device.stacked(x_val, dtype) if device else inputs(x_val, dtype)
        y = (device.stacked if device else stacked)(y_val, y_val[0].dtype)
        task = self._config.training.task
        evaluation = Evaluation(self._net, group.weights, x, y, device, task)
        if device is not None:  # whose buffers the host does not read in the middle of a program
            return group, evaluation, None
        model, marks = self._config.model, evaluation.marks
        shift, activation = noise(model), model.activation.name
        health = Health(self._net, activation, shift, group.gradient, group.weights, marks)
        evaluation.look = health.look
        return group, evaluation, health

    def _targets(self, members: list[int], dtype: np.dtype) -> tuple[list[Array], list[Array]]:
        """Those of training and of validation, as the net learns them; equal folds share theirs."""
        made: dict[int, tuple[Array, Array]] = {}
        for each in members:
            fold = self._data.fold(each)
            if id(fold) in made:
                continue
            made[id(fold)] = fold.y_train, fold.y_val
            if self._config.training.task is REGRESSION:
                train, val = (standardised(y, self._state, each) for y in made[id(fold)])
                made[id(fold)] = train.astype(dtype), val.astype(dtype)
        parts = [made[id(self._data.fold(each))] for each in members]
        return [train for train, _ in parts], [val for _, val in parts]

    def _predicting(self, group: Group, evaluation: Evaluation) -> tuple[float, float]:
        """Seconds of predicting the validation rows, as trained and with batch norm folded."""
        plain = folded(
            self._config,
            self._net,
            group.weights,
            evaluation.x,
            evaluation.y,
            self._data.image,
            self._device,
        )
        took = quickest(evaluation)
        return took, took if plain is None else quickest(plain)

    def _host(self, array: Array) -> Array:
        return array if self._device is None else self._device.host(array)

    def _factors(self, members: list[int], epoch: int, steps: int) -> Array:
        """What the schedule makes of the learning rate in this epoch, see `Group.train`."""
        training = self._config.training
        found = factors(
            training.schedule, training.warmup, epoch=epoch, steps=steps, epochs=training.epochs
        )
        own = self._state.get("plateau.factor")
        return found if own is None else found * own[members]

    def _follow(
        self, members: list[int], arrays: dict[str, Array], epoch: int, values: Sequence[Array]
    ) -> bool:
        """Keeps the trial's values, under early stopping the best; whether a replicate stops."""
        state, stopping = self._state, self._config.training.early_stopping
        named = dict(zip(self._metrics, values, strict=True))
        if "plateau.factor" in state:
            for place, each in enumerate(members):
                reached = {name: float(value[place]) for name, value in named.items()}
                follow(self._config.training.schedule, state, each, reached)
        if stopping is None:
            for name, value in named.items():
                state[f"metrics.{name}"][members] = value
            return False
        monitor = stopping.monitor.name
        sign = MONITORED[monitor]
        for place, each in enumerate(members):
            best = state[f"metrics.{monitor}"][each]
            if np.isnan(best) or sign * named[monitor][place] < sign * best:
                state["waited"][each] = 0
                for name, value in named.items():
                    state[f"metrics.{name}"][each] = value[place]
                for name in ("parameters", "running"):
                    state[f"best.{name}"][each] = self._host(arrays[name][place])
            else:
                state["waited"][each] += 1
                if state["waited"][each] >= stopping.patience:
                    state["stopped"][each] = epoch
        return any(self._stopped(each) for each in members)


def _typed(arrays: Sequence[Features], dtype: np.dtype) -> tuple[Features, ...]:
    """The arrays in this type; the same object stays the same object, and what is on disk there."""
    made: dict[int, Features] = {}
    for array in arrays:
        if id(array) not in made:
            there = isinstance(array, Selection)
            made[id(array)] = array if there else np.asarray(array, dtype)
    return tuple(made[id(array)] for array in arrays)
