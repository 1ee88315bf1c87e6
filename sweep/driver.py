"""Runs a study: wires the parts together, in the order in which nothing is left half-done.

Everything that can be wrong with a study is found before anything is written; the study is stored
before Ray starts; the recorder ends after the last record is in the outbox.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sweep.answers import winner
from sweep.answers.results import Results, read
from sweep.pruners import PRUNERS
from sweep.recording.logbook import Logbook
from sweep.recording.outbox import Backlog, Outbox
from sweep.recording.provenance import provenance
from sweep.recording.recording import Recording
from sweep.recording.records import SweepEnded, SweepStarted
from sweep.scheduling.loop import Loop, Standing
from sweep.scheduling.progress import progress
from sweep.scheduling.ray_runner import RayRunner, RayUnavailable
from sweep.scheduling.runner import Runner
from sweep.search.search import Search
from sweep.search.storage import Storage
from sweep.spec.fields import Resources
from sweep.spec.study import Study, check
from sweep.spec.study_file import assign, load, override
from sweep.workspace import StudyFolder, Workspace, workspace
from trainer.data import Data, Splits, split
from trainer.rules import ConfigError, Problem
from trainer.sources import DataError
from trainer.sources import load as load_data

DEFAULT_STUDY = Path(__file__).parents[1] / "studies" / "digits.yaml"
"""What `run` runs when it is given no study."""

DRAIN_SECONDS = 600.0
"""How long the end of a sweep waits for MLflow."""


@dataclass(frozen=True)
class Finished:
    """How a run of a sweep ended."""

    results: Results
    interrupted: bool
    seconds: float
    ending: "Ending"


RunnerFactory = Callable[[Data, Resources, str | None], Runner]


def run(
    study: str | Path | Mapping[str, Any] = DEFAULT_STUDY,
    *,
    assignments: Sequence[str] = (),
    name: str | None = None,
    trials: int | None = None,
    timeout: float | None = None,
    address: str | None = None,
    folder: str | None = None,
    quiet: bool = False,
    runner: RunnerFactory = RayRunner,
) -> Finished:
    """Runs a study to its end, or goes on with it where it was interrupted.

    Args:
        study: a study file, or the plain values of one.
        assignments: `path=value` overrides, as `--set` takes them.
        name: overrides the study's name.
        trials: overrides `search.trials`.
        timeout: overrides `search.timeout`.
        address: a Ray cluster; by default `$RAY_ADDRESS`, else this machine.
        folder: the workspace (see `sweep.workspace.workspace`).
        quiet: shows no progress.
        runner: who trains the links; `sweep.scheduling.runner.LocalRunner` does it without Ray.

    Raises:
        ConfigError: the study, its data or the workspace have mistakes; nothing was written.
        StudyInUse: another driver is running the study.
        RayUnavailable: no Ray, or none with the resources that the study asks for.
    """
    values = dict(study) if isinstance(study, Mapping) else load(Path(study))
    values = override(values, list(assignments))
    options = {"name": name, "search.trials": trials, "search.timeout": timeout}
    for path, value in options.items():
        if value is not None:
            values = assign(values, path, value)
    checked = check(values)
    place = workspace(folder)
    target = place.study(checked.name)
    if target.file.exists() and load(target.file) != checked.values:
        rule = f"is the name of another study in {place.path}; choose another with --name"
        raise ConfigError([Problem("name", rule, checked.name)])
    splits = _splits(checked)
    place.prepare(target)
    address = address or os.environ.get("RAY_ADDRESS")
    return _held(checked, place, target, splits, (runner, address, quiet))


def resume(
    name: str,
    *,
    trials: str | None = None,
    address: str | None = None,
    folder: str | None = None,
    quiet: bool = False,
    runner: RunnerFactory = RayRunner,
) -> Finished:
    """Goes on with a study of the workspace, as `run` does.

    Args:
        name: the study's name.
        trials: a new number of trials to end with, or `+N` for so many more than it has now.
        address, folder, quiet, runner: as in `run`.

    Raises:
        UnknownStudy: there is none of that name.
        ConfigError, StudyInUse, RayUnavailable: as in `run`.
    """
    place = workspace(folder)
    target = place.existing(name)
    study = check(load(target.file))
    if trials is not None:
        study = _extended(study, trials)
    splits = _splits(study)
    address = address or os.environ.get("RAY_ADDRESS")
    return _held(study, place, target, splits, (runner, address, quiet))


def _extended(study: Study, trials: str) -> Study:
    try:
        wanted = int(trials) + (study.search.trials if trials.startswith("+") else 0)
    except ValueError:
        raise ConfigError([Problem("--trials", "must be N or +N", trials)]) from None
    return check(assign(dict(study.values), "search.trials", wanted))


def _held(
    study: Study,
    place: Workspace,
    folder: StudyFolder,
    splits: Splits,
    options: tuple[RunnerFactory, str | None, bool],
) -> Finished:
    """Runs a study while holding it, and reads its results when it has been let go."""
    started = time.monotonic()
    with interruptible() as interrupts:
        with folder.held():
            fresh = not folder.file.exists()
            if fresh or load(folder.file) != study.values:
                folder.create(study.text)
            try:
                ending = _Sweep(study, place, folder, splits, interrupts).run(*options)
            except RayUnavailable:
                if fresh:
                    folder.discard()
                raise
        seconds = time.monotonic() - started
        return Finished(read(folder), interrupts() > 0, seconds, ending)


def _splits(study: Study) -> Splits:
    source = study.data
    try:
        return split(
            load_data(source.source),
            validation=source.validation,
            test=source.test,
            folds=source.folds,
            preprocess=source.preprocess,
            seed=study.search.seed,
        )
    except DataError as error:
        raise ConfigError([Problem("data.source", str(error))]) from None


@contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """Counts Ctrl-C instead of raising; the count is what is yielded."""
    count = 0

    def interrupt(_signal: int, _frame: object) -> None:
        nonlocal count
        count += 1

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: count
    finally:
        signal.signal(signal.SIGINT, before)


class Ending(NamedTuple):
    """Why a sweep gave up, if it did; how many records MLflow has not got, and why."""

    failure: str | None = None
    left: int = 0
    trouble: str | None = None


class _Sweep:
    """One run of a sweep, while its study is held."""

    def __init__(
        self,
        study: Study,
        place: Workspace,
        folder: StudyFolder,
        splits: Splits,
        interrupts: Callable[[], int],
    ) -> None:
        self._study = study
        self._place = place
        self._folder = folder
        self._splits = splits
        self._interrupts = interrupts
        self._storage = Storage(folder.trials, study.name, maximize=study.maximize)
        self._search = Search(study, self._storage)

    def run(self, factory: RunnerFactory, address: str | None, quiet: bool) -> Ending:
        """Runs the trials that are wanted, then looks at the winner, then waits for MLflow."""
        with closing(Outbox(self._folder.outbox)) as outbox:
            if not self._search.wanted and outbox.backlog().empty:
                return Ending()
            runner = failure = None
            if self._search.wanted:
                runner = factory(self._splits.data, self._study.resources, address)
            opening = SweepStarted(self._study.question, self._study.text, _now(), provenance())
            outbox.add(opening)
            recording = Recording(
                outbox,
                self._folder.path,
                self._place.tracking_uri,
                self._place.artifact_root,
            )
            try:
                if runner is not None:
                    with closing(runner):
                        failure = self._train(outbox, recording, runner, quiet)
                self._conclude(outbox, failure)
            finally:
                left = self._drain(recording, quiet)
            trouble = recording.trouble if left else None
        return Ending(failure, left, trouble)

    def _train(
        self,
        outbox: Outbox,
        recording: Recording,
        runner: Runner,
        quiet: bool,
    ) -> str | None:
        """Runs the loop; why it gave up, if it did."""
        study = self._study
        entry = PRUNERS[study.search.pruner.name]
        with progress(study.metric, quiet=quiet) as show:

            def watch(standing: Standing) -> None:
                recording.look_after()
                show(standing)

            loop = Loop(
                study=study,
                search=self._search,
                runner=runner,
                pruner=entry.make(study.search.pruner, study.name, study.epochs),
                records=Logbook(study, self._folder, outbox, self._splits.preprocessing),
                watch=watch,
                interrupts=self._interrupts,
                best=self._search.best,
            )
            loop.run()
        return loop.trouble

    def _conclude(self, outbox: Outbox, failure: str | None) -> None:
        """Looks at the test split for the winner of a study that has ended, and closes the run."""
        if not self._interrupts() and not failure:
            winner.look(self._study, self._storage, self._folder, self._splits)
        results = read(self._folder)
        best, test = results.best, results.test
        metrics = {f"trials/{state}": float(n) for state, n in results.counts.items()}
        tags = {}
        if best is not None and best.value is not None:
            metrics["best_value"] = best.value
            tags["sweep.best"] = str(best.number)
        if test is not None:
            metrics |= {"test_accuracy": test["mean"], "test_accuracy_sd": test["sd"]}
        done = best is not None and not failure
        state = "stopped" if self._interrupts() else "complete" if done else "failed"
        outbox.add(SweepEnded(state, _now(), metrics, tags))

    def _drain(self, recording: Recording, quiet: bool) -> int:
        """Waits until MLflow has everything; another Ctrl-C leaves that to the recorder."""
        before = self._interrupts()
        shown = time.monotonic()

        def on_progress(backlog: Backlog) -> None:
            nonlocal shown
            if self._interrupts() > max(before, 1):
                raise _Enough
            if not quiet and time.monotonic() - shown > 2:
                shown = time.monotonic()
                text = f"recording: {backlog.records} records, {backlog.pictures} pictures to go"
                print(text, file=sys.stderr, flush=True)

        try:
            backlog = recording.drain(DRAIN_SECONDS, on_progress)
        except _Enough:
            backlog = recording.backlog()
        return backlog.records + backlog.pictures


class _Enough(Exception):
    """The user will not wait any longer."""


def _now() -> int:
    return time.time_ns() // 1_000_000
