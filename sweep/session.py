"""One run of a sweep, while its study is held: trains, looks at the winner, waits for MLflow."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

from sweep.answers import validation, winner
from sweep.answers.results import TrialResult, read
from sweep.datasets import Datasets
from sweep.pruners import PRUNERS
from sweep.queue import Queue
from sweep.recording.logbook import Logbook
from sweep.recording.outbox import Backlog, Outbox
from sweep.recording.provenance import provenance, run_tags
from sweep.recording.recalled import recalled
from sweep.recording.recording import Recording
from sweep.recording.records import Confusion, Predictions, Report, SweepEnded, SweepStarted
from sweep.scheduling.devices import Devices, work
from sweep.scheduling.folders import Folder, LocalFolder, folder, kept_as
from sweep.scheduling.loop import Loop
from sweep.scheduling.ports import Standing
from sweep.scheduling.progress import progress
from sweep.scheduling.runner import Runner
from sweep.scheduling.states import States
from sweep.scheduling.write_behind import WriteBehind
from sweep.search.search import Search
from sweep.search.storage import IDENTITY, Storage
from sweep.spec.fields import Resources
from sweep.spec.study import Study
from sweep.wishes import Wishes
from sweep.workspace import WAIT_SECONDS, StudyFolder, Workspace
from trainer.rules import ConfigError, Problem

CODE = "code"
"""The note that holds the versions of the user's code that have trained, in their order."""

DRAIN_SECONDS = 600.0
"""How long the end of a sweep waits for MLflow."""

RECORDER_SECONDS = 5.0
"""How long the recorder may wait for the end of the first trial, which needs the processor more."""

SOURCES = "sources"
"""The note that holds the digests of models that trials start from."""

RunnerFactory = Callable[[Datasets, Resources, str | None], Runner]


class Ending(NamedTuple):
    """Why a sweep gave up, if it did; how many records MLflow has not got, and why.

    `refused` are the reasons for which it will never get some.
    """

    failure: str | None = None
    left: int = 0
    trouble: str | None = None
    refused: Sequence[str] = ()


class Session:
    """One run of a sweep, while its study is held."""

    def __init__(
        self,
        study: Study,
        place: Workspace,
        folder: StudyFolder,
        datasets: Datasets,
        wishes: Wishes,
        storage: Storage,
    ) -> None:
        self._study = study
        self._place = place
        self._folder = folder
        self._datasets = datasets
        self._wishes = wishes
        self._storage = storage
        self._version = datasets.trainers.version
        self._search = Search(study, self._storage, Queue(folder.queue), self._version)

    def run(self, factory: RunnerFactory, address: str | None, quiet: bool) -> Ending:
        """Runs the trials that are wanted, then looks at the winner, then waits for MLflow."""
        self._check_sources()
        self._note_code()
        with closing(Outbox(self._folder.outbox, patience=WAIT_SECONDS)) as outbox:
            identity = self._identify(outbox)
            if not self._search.wanted and outbox.concluded() and outbox.backlog().empty:
                return Ending()
            runner = failure = None
            if self._search.wanted:
                try:
                    with self._wishes.at_once():
                        runner = factory(self._datasets, self._study.resources, address)
                except KeyboardInterrupt:
                    return Ending()
            if runner is not None and self._wishes.interrupts():
                runner.close()
                return Ending()
            code = {"sweep.checksum.trainer": self._version} if self._version else {}
            tags = provenance() | code
            outbox.add(SweepStarted(self._study.question, self._study.text, _now(), tags))
            uris = (self._place.tracking_uri, self._place.artifact_root)
            logbook = Logbook(self._study, self._folder, outbox, self._datasets, run_tags())
            logbook.began()
            recording = cache(partial(Recording, outbox, self._folder.path, *uris))
            try:
                # Ray takes a second to end: meanwhile MLflow gets the rest.
                with closing(runner) if runner is not None else nullcontext():
                    if runner is not None:
                        with closing(self._states(identity)) as states:
                            failure = self._train(logbook, recording, runner, states, quiet)
                    self._conclude(logbook, outbox, failure)
            except BaseException:  # a later run sends what is left
                recording().stop()
                raise
            left = self._drain(recording(), quiet)
            trouble = recording().trouble if left else None
            return Ending(failure, left, trouble, outbox.reasons())

    def _check_sources(self) -> None:
        """Makes sure that the models to start from are those with which the study began.

        Raises:
            ConfigError: one has changed.
        """
        found = self._datasets.sources
        known = self._storage.notes().get(SOURCES)
        if known is None:
            if found:
                self._storage.note(SOURCES, found)
            return
        changed = [name for name in found if known.get(name, found[name]) != found[name]]
        if changed:
            rule = "has changed since the study began; start another study from it, or put it back"
            raise ConfigError([Problem("model.start_from.source", rule, changed[0])])

    def _identify(self, outbox: Outbox) -> str:
        """What tells the study from every other of its name, wherever something is kept of it.

        An outbox that does not know it was made anew: the workspace was lost.
        """
        known: str | None = self._storage.notes().get(IDENTITY)
        if known is None:
            known = outbox.sweep_id
            self._storage.note(IDENTITY, known)
        elif known != outbox.sweep_id:
            outbox.renew(known, recalled(self._study, self._storage.trials()))
        return known

    def _states(self, identity: str) -> WriteBehind:
        """Where its trials' states are kept."""
        place: Folder = LocalFolder(self._folder.states)
        if self._study.storage is not None:
            place = folder(self._study.storage, kept_as(self._study.name, identity))
        return WriteBehind(States(place))

    def _note_code(self) -> None:
        """Notes the version of the user's code, and says so if other versions have trained."""
        if self._version is None:
            return
        known: list[str] = self._storage.notes().get(CODE, [])
        if any(each != self._version for each in known):
            print(
                f"warning: {self._study.trainer} has changed since the study began: earlier trials "
                "were trained by other code (show --json has the version of each)",
                file=sys.stderr,
            )
        if self._version not in known:
            self._storage.note(CODE, [*known, self._version])

    def _train(
        self,
        logbook: Logbook,
        recording: Callable[[], Recording],
        runner: Runner,
        states: WriteBehind,
        quiet: bool,
    ) -> str | None:
        """Runs the loop; why it gave up, if it did. Calling `recording` starts the recorder."""
        study = self._study
        entry = PRUNERS[study.search.pruner.name]
        began = time.monotonic()
        with progress(study.metric, quiet=quiet) as show:

            def watch(standing: Standing) -> None:
                if standing.fresh or time.monotonic() - began > RECORDER_SECONDS:
                    recording().look_after()
                    standing = replace(standing, unrecorded=recording().behind())
                show(standing)

            devices = None
            if study.resources.automatic:
                devices = Devices(partial(work, study, self._datasets.parameters))
            loop = Loop(
                study=study,
                search=self._search,
                runner=runner,
                pruner=entry.make(study.search.pruner, study.name, study.epochs),
                records=logbook,
                watch=watch,
                interrupts=self._wishes.interrupts,
                stops=self._wishes.trials,
                states=states,
                parameters=self._datasets.parameters,
                best=self._search.best,
                devices=devices,
            )
            loop.run()
        if devices is not None and devices.trouble:
            cause = f"no card was used any more: {devices.trouble}"
            print(f"warning: resources.gpu: auto: {cause}", file=sys.stderr)
        return loop.trouble

    def _conclude(self, logbook: Logbook, outbox: Outbox, failure: str | None) -> None:
        """Looks at the test split for the winner of a study that has ended, and closes the run."""
        if not self._wishes.interrupts() and not failure:
            winner.look(self._study, self._storage, self._folder, self._datasets)
        results = read(self._folder)
        best, test = results.best, results.test
        metrics = {f"trials/{state}": float(n) for state, n in results.counts.items()}
        tags = {}
        if best is not None and best.value is not None:
            metrics["best_value"] = best.value
            tags["sweep.best"] = str(best.number)
        if test is not None:
            name = f"test_{self._study.score}"
            metrics |= {name: test["mean"], f"{name}_sd": test["sd"]}
        done = best is not None and not failure
        state = "stopped" if self._wishes.interrupts() else "complete" if done else "failed"
        outbox.add(SweepEnded(state, _now(), metrics, tags))
        if state == "complete" and best is not None and best.value is not None:
            self._record_best(best, logbook, outbox)
            outbox.add(Report(_now()))

    def _record_best(self, best: TrialResult, logbook: Logbook, outbox: Outbox) -> None:
        """Records the best trials' weights and models, what they say of rows, and the winner."""
        logbook.concluded()
        known = outbox.trials_with(Confusion) | outbox.trials_with(Predictions)
        files = {best.number: self._folder.winner} | logbook.best()
        fresh = {number: file for number, file in files.items() if number not in known}
        for said in validation.records(fresh, self._datasets, _now()):
            outbox.add(said)
        if self._study.record.models.name != "none":
            outbox.add(winner.record(self._study, best, self._datasets, _now()))

    def _drain(self, recording: Recording, quiet: bool) -> int:
        """Waits until MLflow has everything; another Ctrl-C leaves that to the recorder."""
        before = self._wishes.interrupts()
        shown = time.monotonic()

        def on_progress(backlog: Backlog) -> None:
            nonlocal shown
            if self._wishes.interrupts() > max(before, 1):
                raise _Enough
            if not quiet and time.monotonic() - shown > 2:
                shown = time.monotonic()
                text = f"drawing: {backlog.pictures} pictures to go"
                if backlog.records:
                    text = f"recording: {backlog.records} records to go"
                print(recording.behind() or text, file=sys.stderr, flush=True)

        try:
            backlog = recording.drain(DRAIN_SECONDS, on_progress)
        except _Enough:
            backlog = recording.backlog()
        return backlog.records + backlog.pictures


class _Enough(Exception):
    """The user will not wait any longer."""


def _now() -> int:
    return time.time_ns() // 1_000_000
