"""Samplers: who chooses the next configuration.

Optuna's samplers work on a study in memory that mirrors the durable one. So they are fast (8
parameters cost a durable storage eight transactions), and whatever a sampler keeps in a study's
attributes (CMA-ES a pickle) is never stored and never loaded. Every suggestion comes from a sampler
seeded by (seed, trial number): a resumed study goes on as if it had never stopped. (CMA-ES alone
starts its evolution anew, from the trials that it finds.)

TPE and Gaussian processes grow slower with every trial that they look at. They are shown the trials
that run, the best `BEST` and the newest `NEWEST` of those that ended (see `_Recent`); with several
objectives, where the best are no short list, all of them.
"""

import bisect
import copy
import itertools
import warnings
from collections.abc import Callable, Container, Mapping, Sequence

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from sweep.search.point_sets import sobol
from sweep.search.population import Population
from sweep.search.sampler import NOTHING, Params, Result, Sampler, Whole
from sweep.search.storage import CONSTRAINT
from sweep.spec import space
from sweep.spec.study import Study

optuna.logging.set_verbosity(optuna.logging.ERROR)

BEST, NEWEST = 100, 400
"""How many trials that ended a sampler is shown: enough for TPE's good group, which has 25 at most,
and for the density of the others; `benchmarks/history.py` measures that nothing is lost by it.
"""


def distribution(parameter: space.Parameter) -> BaseDistribution:
    """A parameter as Optuna has it."""
    if isinstance(parameter, space.Choose):
        return CategoricalDistribution(parameter.labels)
    low, high, step = parameter.low, parameter.high, parameter.step
    if parameter.integer:
        return IntDistribution(int(low), int(high), parameter.log, int(step or 1))
    return FloatDistribution(low, high, parameter.log, step)


def make(study: Study, past: Sequence[FrozenTrial]) -> Sampler:
    """The sampler that a study names, with the trials of the study so far."""
    name = study.search.sampler.name
    if name == "pbt":
        return Population(study, past)
    if name in DESIGNS:
        return Design(DESIGNS[name](study))
    bounded = name in RECENT and len(study.objectives) == 1
    storage = _Recent(maximize=study.maximize) if bounded else InMemoryStorage()
    return OptunaSampler(study, SAMPLERS[name], past, storage)


def seeded(*key: int) -> int:
    """A 32-bit seed that depends on every part of the key."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


class OptunaSampler(Whole):
    """One of Optuna's samplers on a study in memory.

    With `search.reproducible`, suggestion n sees exactly the results of trials 0 … n - lag and the
    configurations of those after them, whenever their results came in.
    """

    def __init__(
        self,
        study: Study,
        sampler: Callable[[int], BaseSampler],
        past: Sequence[FrozenTrial],
        storage: InMemoryStorage,
    ) -> None:
        self._template = study.template
        self._seed = study.search.seed
        self._lag = study.lag
        self._sampler = sampler
        self._study = optuna.create_study(directions=study.directions, storage=storage)
        self._results: dict[int, Result] = {}
        for number, trial in enumerate(past):
            if trial.state.is_finished():
                scores = trial.values if trial.state is TrialState.COMPLETE else None
                self._results[number] = Result(
                    trial.state, scores, trial.intermediate_values, trial.constraints
                )
            self._study.add_trial(_running(trial))

    def ask(self, number: int, fixed: Mapping[str, space.Scalar] = NOTHING) -> Params:
        """Asks a sampler seeded by the trial's number for what is not fixed."""
        for each in sorted(each for each in self._results if each <= number - self._lag):
            self._take_in(each, self._results.pop(each))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = self._sampler(seeded(self._seed, number))
        if fixed:
            self._study.enqueue_trial(dict(fixed))
        trial = self._study.ask()
        assert trial.number == number
        space.resolve(self._template, lambda parameter: _suggest(trial, parameter))
        self._forget_what_was_not_chosen(trial)
        return dict(trial.params)

    def _forget_what_was_not_chosen(self, trial: optuna.Trial) -> None:
        """Leaves a running trial as a resumed study would find it: with its parameters alone.

        TPE keeps those as well that it drew for choices which were not made, and takes them for
        observations while the trial runs.
        """
        storage = self._study._storage
        for name in list(storage.get_trial(trial._trial_id).system_attrs):
            if name.startswith(DRAWN):
                storage.set_trial_system_attr(trial._trial_id, name, "")

    def tell(self, number: int, result: Result) -> None:
        """Keeps the result until a suggestion may see it."""
        self._results[number] = result

    def _take_in(self, number: int, result: Result) -> None:
        """Tells Optuna; a pruned trial counts with its values at rungs, or as out of bounds."""
        storage = self._study._storage
        trial = storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)
        for epoch, value in result.reports.items():
            storage.set_trial_intermediate_value(trial, epoch, value)
        for constraint, excess in result.excess.items():
            storage.set_trial_system_attr(trial, CONSTRAINT + constraint, excess)
        self._study.tell(number, result.scores, result.state)


class _Recent(InMemoryStorage):
    """A study in memory that shows those who ask for its trials the best and the newest of them.

    Which these are depends on numbers and values alone, not on when results came in.
    """

    def __init__(self, *, maximize: bool) -> None:
        super().__init__()
        self._sign = -1 if maximize else 1
        self._open: set[int] = set()
        self._ended: list[tuple[int, FrozenTrial]] = []
        self._ranked: list[tuple[float, float, int, FrozenTrial]] = []

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Makes a trial, which is shown until it ends."""
        trial_id = super().create_new_trial(study_id, template_trial)
        self._open.add(trial_id)
        return trial_id

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Notes the trials that have ended, by number and by value."""
        done = super().set_trial_state_values(trial_id, state, values)
        if state.is_finished():
            trial = self.get_trial(trial_id)
            self._open.discard(trial_id)
            bisect.insort(self._ended, (trial.number, trial))
            if state is TrialState.COMPLETE:
                beyond = sum(each for each in trial.constraints.values() if each > 0)
                place = (beyond, self._sign * trial.values[0])
                bisect.insort(self._ranked, (*place, trial.number, trial))
        return done

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """The trials in these states, by number: all that have not ended, and a choice of others.

        They are not to be written to, whatever `deepcopy` says: Optuna's own samplers never do.
        """
        shown = dict(self._ended[-NEWEST:])
        earlier = (each for _, _, number, each in self._ranked if number not in shown)
        best = list(itertools.islice(earlier, BEST))
        running = [self.get_trial(each) for each in self._open]
        found = {each.number: each for each in (*best, *shown.values(), *running)}
        return [
            found[number]
            for number in sorted(found)
            if states is None or found[number].state in states
        ]


def _running(past: FrozenTrial) -> FrozenTrial:
    """A past trial as it was when it started."""
    anew = copy.copy(past)
    anew.state, anew.values, anew.datetime_complete = TrialState.RUNNING, None, None
    anew.intermediate_values, anew.user_attrs, anew.system_attrs = {}, {}, {}
    return anew


def _suggest(trial: optuna.Trial, parameter: space.Parameter) -> space.Scalar:
    if isinstance(parameter, space.Choose):
        chosen: space.Scalar = trial.suggest_categorical(parameter.name, parameter.labels)
        return chosen
    name, low, high, log = parameter.name, parameter.low, parameter.high, parameter.log
    if parameter.integer:
        step = int(parameter.step or 1)
        return trial.suggest_int(name, int(low), int(high), step=step, log=log)
    return trial.suggest_float(name, low, high, step=parameter.step, log=log)


SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {
    # `group` splits a conditional space into parts that are each sampled jointly; without it
    # `multivariate` falls back to one parameter at a time.
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True),
    "random": lambda seed: RandomSampler(seed=seed),
    "cmaes": lambda seed: CmaEsSampler(seed=seed, warn_independent_sampling=False),
    "gp": lambda seed: GPSampler(seed=seed),
}
"""Optuna's samplers by their name in a study file."""

DRAWN = "tpe:relative_params"
"""How the names of TPE's notes in a trial begin."""

RECENT = ("tpe", "gp")
"""Those that are shown the best and the newest trials alone; CMA-ES needs its own last ones."""


class Design(Whole):
    """Points that are known before the first trial: trial n is the n-th of them."""

    def __init__(self, point: Callable[[int], Params | None]) -> None:
        self._point = point

    def ask(self, number: int, fixed: Mapping[str, space.Scalar] = NOTHING) -> Params | None:
        """The point of that number; none is ever fixed."""
        return self._point(number)

    def tell(self, number: int, result: Result) -> None:
        """Changes nothing."""


def _grid(study: Study) -> Callable[[int], Params | None]:
    return _again(study, list(space.cells(study.template)))


def _again(study: Study, points: Sequence[Params]) -> Callable[[int], Params | None]:
    """The points of a design in their order, once for every look at the claims."""
    size = len(points)
    return lambda number: points[number % size] if number < size * study.search.looks else None


def _factorial(study: Study) -> Callable[[int], Params | None]:
    """The full factorial design in a seeded order, block by block.

    A block is the configurations that differ only in fields which the study's claims compare; so a
    comparison is between trials that ran close together, and a run that was cut short has whole
    blocks. Without claims the design is one block. Each trial trains every replicate, so the
    replicates are complete blocks too: those that the statistics use.
    """
    compared = {name for claim in study.claims for name in claim.fields}
    cells = list(space.cells(study.template))
    blocks: dict[frozenset[tuple[str, space.Scalar]], list[Params]] = {}
    for index in np.random.default_rng(study.search.seed).permutation(len(cells)):
        others = space.without(cells[index], compared) if compared else {}
        blocks.setdefault(frozenset(others.items()), []).append(cells[index])
    return _again(study, [cell for block in blocks.values() for cell in block])


DESIGNS: Mapping[str, Callable[[Study], Callable[[int], Params | None]]] = {
    "grid": _grid,
    "factorial": _factorial,
    "qmc": sobol,
}
"""Samplers whose points do not depend on results, by their name in a study file."""
