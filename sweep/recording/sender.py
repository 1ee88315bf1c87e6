"""Brings the runs in MLflow to what the outbox says, each change exactly once.

Anything may be killed at any moment, so a change can have been made that is not marked as sent. The
rule that covers all such cases: **what this process did not do itself, to its end, it checks.** A
run is looked for by its tags before it is made, and points are compared with the run's history
before they are logged, unless this process has made the run and every call since has come back. On
the way that things usually go nothing is read from MLflow at all. Params, tags, states and
artifacts are the same however often they are written.
"""

import logging
import shutil
import traceback
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from sweep.recording import confusion_matrix, predicted_vs_observed, tracking
from sweep.recording.gradient_flow import FlowPainter
from sweep.recording.outbox import PARENT, Entry, Outbox, Run
from sweep.recording.pictures import CurvePainter
from sweep.recording.projection import STATUS, Changes, Point, project
from sweep.recording.records import (
    Confusion,
    Dataset,
    LearningCurve,
    Model,
    Predictions,
    Record,
    Report,
    TrialEnded,
    TrialStarted,
    Weights,
    Winner,
)
from sweep.recording.run_tables import RunTables
from sweep.workspace import StudyFolder

log = logging.getLogger("sweep.recorder")


class Sender:
    """Sends the entries of one outbox to one MLflow store; only one may be at work.

    Args:
        study_dir: the folder of the study; its name is the name of the study.
        artifact_root: the URI of the folder for artifacts; None leaves it to the server.

    Raises:
        Exception: from every method but `alive`: whatever MLflow and its database raise.
    """

    def __init__(
        self, outbox: Outbox, client: MlflowClient, study_dir: Path, artifact_root: str | None
    ):
        self._outbox = outbox
        self._client = client
        self._study_dir = study_dir
        self._outgoing = study_dir / "outgoing"
        self._experiment_id = tracking.experiment(client, study_dir.name, artifact_root)
        outbox.note("experiment_id", self._experiment_id)
        self._tables = RunTables.of(client.tracking_uri)
        self._runs = outbox.runs()
        self._made_before: dict[int | None, Run] | None = None
        self._states: dict[int | None, str] = {}
        self._certain: set[int | None] = set()
        self._creation_open: set[int | None] = set()
        for weights in outbox.weights_sent():  # killed between marking and deleting
            (study_dir / weights).unlink(missing_ok=True)

    @cached_property
    def _painters(self) -> tuple[CurvePainter, FlowPainter]:
        return CurvePainter(), FlowPainter()

    def close(self) -> None:
        """Lets go of the store."""
        if self._tables is not None:
            self._tables.close()

    def alive(self) -> bool:
        """Whether the store takes a small change."""
        try:
            for name, value in tracking.EXPERIMENT_KIND.items():
                self._client.set_experiment_tag(self._experiment_id, name, value)
        except Exception as error:  # whatever it is, the store does not work
            log.warning("the store does not take a change: %s", error)
            return False
        return True

    def deliver(self, trial: int | None, entries: Sequence[Entry]) -> None:
        """Sends entries of one run, in their order, and marks them."""
        changes = project(entry.record for entry in entries)
        files = self._collect(changes)
        run = self._runs.get(trial) or self._find(trial)
        if run is not None and self._stands(trial, entries):
            self._outbox.sent(entries)
            return
        made = run is None
        if run is None:
            run = self._make(trial, changes)
        points = changes.points
        if trial not in self._certain:
            points = self._missing(run, points, by_step=trial is not None)
        self._certain.discard(trial)
        tags = [] if made else [RunTag(name, value) for name, value in changes.tags.items()]
        if self._tables is None:
            metrics = [Metric(*point) for point in points]
            params = [Param(name, value) for name, value in changes.params.items()]
            self._client.log_batch(run.run_id, metrics, params, tags, synchronous=True)
        else:
            self._tables.write(run.run_id, changes.params, points)
            if tags:
                self._client.log_batch(run.run_id, tags=tags, synchronous=True)
        if changes.data is not None:
            tracking.log_dataset(self._client, run.run_id, *changes.data)
        if files:
            self._upload(run)
        if changes.end_ms is not None:
            self._client.set_terminated(run.run_id, changes.status, changes.end_ms)
        elif changes.status is not None and not made:
            self._client.update_run(run.run_id, changes.status)
        self._certain.add(trial)
        self._finish(entries)

    def draw(self, entry: Entry) -> None:
        """Makes a picture, a report or a model that is due, sends it, and marks it."""
        record = entry.record
        self._clear_outgoing()
        try:
            self._produce(record)
        except Exception:  # made again it would fail again
            self._outbox.refuse(entry, traceback.format_exc())
            return
        run = self._runs[record.trial]
        self._upload(run)
        if isinstance(record, Winner):
            from sweep.recording import registry

            registry.register(self._client, record, run, self._study_dir.name)
        self._outbox.sent([entry])
        if isinstance(record, Model):
            (self._study_dir / record.weights).unlink(missing_ok=True)

    def _produce(self, record: Record) -> None:
        """Puts what is due into the folder of artifacts to be sent."""
        match record:
            case LearningCurve():
                curves, flow = self._painters
                records = self._outbox.records(record.trial)
                curves.draw(records, self._outgoing / "learning_curve.png")
                flow.draw(records, self._outgoing / "gradient_flow.png")
            case Weights():
                (self._outgoing / "weights.npz").hardlink_to(self._study_dir / record.weights)
            case Model():
                self._save_model(record.trial, self._study_dir / record.weights)
            case Winner():
                self._save_model(record.trial, StudyFolder(self._study_dir).winner)
            case Confusion():
                confusion_matrix.draw(record, self._outgoing / "confusion_matrix.png")
            case Predictions():
                predicted_vs_observed.draw(record, self._outgoing / "predicted_vs_observed.png")
            case Report():
                from sweep.answers import report  # takes a second, once a sweep

                report.write(StudyFolder(self._study_dir))
                shutil.copytree(self._study_dir / "report", self._outgoing, dirs_exist_ok=True)

    def _save_model(self, trial: int, weights: Path) -> None:
        from sweep.recording import logged_model  # takes a second

        sweep = self._outbox.records(PARENT)
        data = [record for record in sweep if isinstance(record, Dataset)][-1]
        logged_model.save(trial, weights, data, self._outgoing / logged_model.FOLDER)

    def _finish(self, entries: Sequence[Entry]) -> None:
        ends = [entry.record for entry in entries if isinstance(entry.record, TrialEnded)]
        drawn = [
            LearningCurve(end.trial, end.at_ms)
            for end in ends
            if end.state != "failed" and not end.recalled
        ]
        self._outbox.sent(entries, drawn)
        for end in ends:
            if end.weights is not None:
                (self._study_dir / end.weights).unlink(missing_ok=True)

    def _stands(self, trial: int | None, entries: Sequence[Entry]) -> bool:
        """Whether MLflow has what these say already, of a trial whose outbox was lost."""
        there = self._states.get(trial)
        for entry in entries:
            match entry.record:
                case TrialStarted(recalled=True) if there in STATUS:
                    continue
                case TrialEnded(recalled=True, state=state) if there == state:
                    continue
            return False
        return True

    # Runs.

    def _make(self, trial: int | None, changes: Changes) -> Run:
        tags = {"sweep.study": self._study_dir.name} | changes.tags
        if trial is None:
            name = self._study_dir.name
            tags |= {"sweep.id": self._outbox.sweep_id}
        else:
            name = changes.name or f"#{trial}"
            tags |= {
                "sweep.trial": str(trial),
                "mlflow.parentRunId": self._parent().run_id,
            }
        self._creation_open.add(trial)
        made = self._client.create_run(self._experiment_id, changes.start_ms, tags, name)
        run = self._keep(trial, Run(made.info.run_id, made.info.artifact_uri))
        self._creation_open.discard(trial)
        self._certain.add(trial)
        if trial is None:
            self._made_before = {}
        return run

    def _parent(self) -> Run:
        return self._runs.get(None) or self._find(None) or self._make(None, Changes())

    def _find(self, trial: int | None) -> Run | None:
        """The run of a trial that was made by another process, or by a call that broke off."""
        if trial is None:
            found = self._search({"sweep.id": self._outbox.sweep_id})
        elif trial in self._creation_open:
            parent = self._parent().run_id
            found = self._search({"mlflow.parentRunId": parent, "sweep.trial": str(trial)})
        else:
            found = self._made_before_this_process()
        return self._keep(trial, found[trial]) if trial in found else None

    def _made_before_this_process(self) -> dict[int | None, Run]:
        """Read once, and only runs that are as young as the oldest record without a run."""
        parent = self._parent().run_id
        if self._made_before is None:
            since = self._outbox.first_without_run_ms()
            self._made_before = self._search({"mlflow.parentRunId": parent}, since)
        return self._made_before

    def _search(self, tags: dict[str, str], since_ms: int = 0) -> dict[int | None, Run]:
        found: dict[int | None, Run] = {}
        for run in tracking.runs_with(self._client, self._experiment_id, tags, since_ms):
            number = run.data.tags.get("sweep.trial")
            trial = None if number is None else int(number)
            found[trial] = Run(run.info.run_id, run.info.artifact_uri)
            self._states[trial] = run.data.tags.get("sweep.state", "")
        return found

    def _keep(self, trial: int | None, run: Run) -> Run:
        self._outbox.keep_run(trial, run)
        self._runs[trial] = run
        return run

    def _missing(self, run: Run, points: Sequence[Point], *, by_step: bool) -> list[Point]:
        """The points that are not in the history of the run.

        A trial has one value a step, whenever it was found: what is trained again after a crash
        comes to the same. The parent run's are told apart by their time.
        """
        there = {
            (name, point.step, 0 if by_step else point.timestamp)
            for name in {point.name for point in points}
            for point in self._client.get_metric_history(run.run_id, name)
        }
        return [
            point
            for point in points
            if (point.name, point.step, 0 if by_step else point.at_ms) not in there
        ]

    # Files.

    def _collect(self, changes: Changes) -> bool:
        """Puts the artifacts into a folder of their own, under the names they shall have."""
        if not (changes.texts or changes.files):
            return False
        self._clear_outgoing()
        for name, text in changes.texts.items():
            (self._outgoing / name).write_text(text, encoding="utf-8", errors="replace")
        for name, path in changes.files.items():
            try:
                (self._outgoing / name).hardlink_to(self._study_dir / path)
            except FileNotFoundError:
                log.warning("%s is gone: a run stays without %s", path, name)
                changes.tags["sweep.missing"] = name
        return True

    def _upload(self, run: Run) -> None:
        tracking.upload(self._client.tracking_uri, run.artifact_uri, self._outgoing)
        shutil.rmtree(self._outgoing)

    def _clear_outgoing(self) -> None:
        shutil.rmtree(self._outgoing, ignore_errors=True)
        self._outgoing.mkdir()
