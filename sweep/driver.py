"""Runs a study: wires the parts together, in the order in which nothing is left half-done.

Everything that can be wrong with a study is found before anything is written; the study is stored
before Ray starts; the recorder ends after the last record is in the outbox.
"""

import os
import shutil
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.answers.claims import findings
from sweep.answers.intervals import SPENT
from sweep.answers.results import Results, read
from sweep.datasets import Datasets
from sweep.recording.size import size, written
from sweep.scheduling.folders import prove
from sweep.scheduling.ray_runner import RayRunner, RayUnavailable
from sweep.search.storage import STUDY, Storage, discard, study_file, taken
from sweep.session import Ending, RunnerFactory, Session
from sweep.spec.catalogue import STUDIES
from sweep.spec.contradictions import LISTED
from sweep.spec.places import opened, placed
from sweep.spec.study import Study, check
from sweep.spec.study_file import assign, load, override, parse
from sweep.wishes import Wishes
from sweep.workspace import StudyFolder, Workspace, database, workspace
from trainer.rules import ConfigError, Problem

DEFAULT_STUDY = STUDIES / "digits.yaml"
"""What `run` runs when it is given no study."""


@dataclass(frozen=True)
class Finished:
    """How a run of a sweep ended."""

    results: Results
    interrupted: bool
    seconds: float
    ending: Ending


def run(
    study: str | Path | Mapping[str, Any] = DEFAULT_STUDY,
    *,
    assignments: Sequence[str] = (),
    name: str | None = None,
    trials: int | None = None,
    timeout: float | None = None,
    address: str | None = None,
    allow_code: Collection[str] = (),
    folder: str | None = None,
    quiet: bool = False,
    runner: RunnerFactory = RayRunner,
) -> Finished:
    """Runs a study to its end, or goes on with it where it was interrupted.

    Args:
        study: a study file, or the plain values of one; paths in it are relative to its folder,
            those in values and in assignments to the current one.
        assignments: `path=value` overrides, as `--set` takes them.
        name: overrides the study's name.
        trials: overrides `search.trials`.
        timeout: overrides `search.timeout`.
        address: a Ray cluster; by default `$RAY_ADDRESS`, else this machine.
        allow_code: the modules that `data.source` and `trainer` may import and run.
        folder: the workspace (see `sweep.workspace.workspace`).
        quiet: shows no progress.
        runner: who trains the links; `sweep.scheduling.runner.LocalRunner` does it without Ray.

    Raises:
        ConfigError: the study, its data or the workspace have mistakes; nothing was written.
        StudyInUse: another driver is running the study.
        RayUnavailable: no Ray, or none with the resources that the study asks for.
    """
    if isinstance(study, Mapping):
        values = placed(override(dict(study), list(assignments)), Path.cwd())
    else:
        values = opened(Path(study), assignments)
    options = {"name": name, "search.trials": trials, "search.timeout": timeout}
    for path, value in options.items():
        if value is not None:
            values = assign(values, path, value)
    checked = check(values)
    place = workspace(folder)
    target = place.study(checked.name)
    if not target.file.exists() and _stored(checked.name) == checked.text:
        _restore(place, target, checked.text)
    if target.file.exists() and check(load(target.file)).text != checked.text:
        rule = (
            f"is the name of another study in {place.path}; choose another with --name, "
            "or change the number of trials with resume NAME --trials"
        )
        raise ConfigError([Problem("name", rule, checked.name)])
    datasets = Datasets(checked, place.tracking_uri, allow_code)
    place.prepare(target)
    address = address or os.environ.get("RAY_ADDRESS")
    return _held(checked, place, target, datasets, (runner, address, quiet))


def resume(
    name: str,
    *,
    trials: str | None = None,
    decide: bool = False,
    address: str | None = None,
    allow_code: Collection[str] = (),
    folder: str | None = None,
    quiet: bool = False,
    runner: RunnerFactory = RayRunner,
) -> Finished:
    """Goes on with a study of the workspace, as `run` does.

    Args:
        name: the study's name.
        trials: a new number of trials to end with, or `+N` for so many more than it has now.
        decide: doubles the replicates while claims are open, at no more than three looks in all.
        address, allow_code, folder, quiet, runner: as in `run`.

    A study whose folder is lost goes on from what PostgreSQL (`$SWEEP_STORAGE`) has kept of it.

    Raises:
        UnknownStudy: there is none of that name.
        ConfigError, StudyInUse, RayUnavailable: as in `run`.
    """
    place = workspace(folder)
    if name not in {each.name for each in place.studies()} and (text := _stored(name)) is not None:
        _restore(place, place.study(name), text)
    target = place.existing(name)
    study = check(load(target.file))
    if trials is not None:
        study = _extended(study, trials)
    if decide:
        _another_look(study)  # whether there can be one is known before anything is trained
    datasets = Datasets(study, place.tracking_uri, allow_code)
    address = address or os.environ.get("RAY_ADDRESS")
    finished = _held(study, place, target, datasets, (runner, address, quiet))
    while decide and _undecided(finished) and (further := _another_look(study)):
        study = further
        finished = _held(study, place, target, datasets, (runner, address, quiet))
    return finished


def _stored(name: str) -> str | None:
    """The study file that the database of new studies has of that name, if there is one."""
    url = database()
    return study_file(url, name) if url else None


def _restore(place: Workspace, target: StudyFolder, text: str) -> None:
    """Makes the folder of a study anew."""
    place.prepare(target)
    target.create(text)
    print(f"{target.path} was not there; made anew from $SWEEP_STORAGE", file=sys.stderr)


def _another_look(study: Study) -> Study | None:
    """The study with one more look at its claims; None when it has had them all."""
    if not study.claims:
        raise ConfigError([Problem("--decide", "needs a study with claims", study.name)])
    if study.search.looks == len(SPENT):
        return None
    return check(assign(dict(study.values), "search.looks", study.search.looks + 1))


def _undecided(finished: Finished) -> bool:
    """Whether all trials are there and a claim is still open."""
    results = finished.results
    ended = sum(results.counts[state] for state in ("complete", "pruned", "failed"))
    whole = results.state == "finished" and ended >= results.study.target  # no budget came between
    return (
        whole and not finished.interrupted and any(each.open for each in findings(finished.results))
    )


def _extended(study: Study, trials: str) -> Study:
    try:
        wanted = int(trials) + (study.search.trials if trials.startswith("+") else 0)
    except ValueError:
        raise ConfigError([Problem("--trials", "must be N or +N", trials)]) from None
    sampler, most = study.search.sampler.name, study.target
    whole = sampler == "pbt" or (sampler in LISTED and study.search.trials >= most)
    if whole and wanted > most:
        raise ConfigError(
            [Problem("--trials", f"{sampler} has no more than {most} trials", trials)]
        )
    return check(assign(dict(study.values), "search.trials", wanted))


def _announce(study: Study, place: Workspace, datasets: Datasets) -> None:
    """Says how much disk the study will take, and warns if there is less."""
    expected = size(study, datasets)
    if expected is None:
        return
    print(f"its record will take {expected}", file=sys.stderr)
    free = shutil.disk_usage(place.path).free
    if free < expected.total:
        print(f"warning: {place.path} has {written(free)} left", file=sys.stderr)


def _held(
    study: Study,
    place: Workspace,
    folder: StudyFolder,
    datasets: Datasets,
    options: tuple[RunnerFactory, str | None, bool],
) -> Finished:
    """Runs a study while holding it, and reads its results when it has been let go."""
    if study.storage is not None:
        prove(study.storage)
    started = time.monotonic()
    wishes = Wishes(folder.wishes)
    with folder.held(), wishes.heard(), folder.written():
        fresh = not folder.file.exists()
        if fresh and (url := database()) and taken(url, study.name):
            rule = "is the name of another study in $SWEEP_STORAGE; choose another with --name"
            raise ConfigError([Problem("name", rule, study.name)])
        if fresh:
            folder.create(study.text)
        if fresh and not options[2]:
            _announce(study, place, datasets)
        try:
            opened = Storage(folder.storage, study.name, directions=study.directions)
            with closing(opened) as storage:  # nothing of a study is changed that another holds
                _agree(study, folder, storage)
                session = Session(study, place, folder, datasets, wishes, storage)
                ending = session.run(*options)
        except RayUnavailable:
            if fresh:
                if isinstance(folder.storage, str):
                    discard(folder.storage, study.name)
                folder.discard()
            raise
    seconds = time.monotonic() - started
    return Finished(read(folder), wishes.interrupts() > 0, seconds, ending)


def _agree(study: Study, folder: StudyFolder, storage: Storage) -> None:
    """Stores the study, as this command may have changed it, in its database and its folder.

    Raises:
        ConfigError: they held different ones: another workspace has changed it.
    """
    stored = load(folder.file)
    if isinstance(folder.storage, str):  # which alone may outlive the workspace
        noted: str | None = storage.notes().get(STUDY)
        if noted not in (None, study.text) and (known := parse(noted, STUDY)) != stored:
            fields = [each for each in known | stored if known.get(each) != stored.get(each)]
            rule = (
                f"is not the study that its database has ({', '.join(fields)} differs): it was "
                "changed elsewhere; to go on with that one, set SWEEP_STORAGE to the database and "
                "remove this file"
            )
            raise ConfigError([Problem(str(folder.file), rule)])
        if noted != study.text:
            storage.note(STUDY, study.text)
    if stored != study.values:
        folder.create(study.text)
