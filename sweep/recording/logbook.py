"""What happens to trials, written down for the people who read MLflow: the loop's `Records`.

Everything goes into the study's outbox at once; the recorder process sends it on. The weights of a
trial lie in a file beside the outbox until they are sent; those of the best trial so far stay.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sweep import model
from sweep.datasets import Datasets
from sweep.recording import kept
from sweep.recording.kept import Kept
from sweep.recording.outbox import Outbox
from sweep.recording.projection import DIAGNOSIS
from sweep.recording.records import Dataset, Epochs, Model, TrialEnded, TrialStarted, Weights
from sweep.scheduling.runner import Advanced, StateLost
from sweep.search.trial import State, Trial
from sweep.spec.study import Study
from sweep.spec.study_file import dump
from sweep.workspace import StudyFolder
from trainer import checkpoint
from trainer.state import State as TrainerState

EXAMPLES = 2
"""How many raw rows go with a model."""

SHORT = {"batch_norm": "bn", "dropout": "p", "learning_rate": "lr", "batch_size": "batch"}
"""How the name of a run calls a number."""


class Logbook:
    """Writes trials into the outbox of their study, and their weights into its folder."""

    def __init__(
        self,
        study: Study,
        folder: StudyFolder,
        outbox: Outbox,
        datasets: Datasets,
        tags: Mapping[str, str],
    ) -> None:
        """Writes for one driver; `tags` say where it runs and go on every run."""
        self._study = study
        self._datasets = datasets
        self._tags = tags
        self._folder = folder
        self._outbox = outbox
        weights, models = study.record.weights, study.record.models
        self._all_weights, self._all_models = weights.name == "all", models.name == "all"
        self._best_weights, self._best_models = kept.best_of(weights), kept.best_of(models)
        self._kept = Kept(folder.kept, kept.count(study.record), maximize=study.maximize)

    def began(self) -> None:
        """Records what the trials train on."""
        x, _ = self._datasets.splits(self._study.first_config()).raw_test
        example = np.asarray(x[:EXAMPLES], dtype=np.float32).tolist()
        data, source = self._datasets, self._study.data.source
        self._outbox.add(Dataset(source, data.digest, example, data.classes, _now(), data.targets))

    def best(self) -> dict[int, Path]:
        """The files with the weights of the best trials, as far as they are kept."""
        return {
            number: self._kept.file(number) for number in self._kept.numbers()[: kept.LOOKED_AT]
        }

    def concluded(self) -> None:
        """Records the weights and the models of the best trials, where not those of all are."""
        best = self._kept.numbers()
        known = self._outbox.trials_with(Weights)
        for number in best[: self._best_weights]:
            if number not in known:
                file = self._kept.file(number).relative_to(self._folder.path)
                self._outbox.add(Weights(number, str(file), _now()))
        known = self._outbox.trials_with(Model)
        for number in best[: self._best_models]:
            if number not in known:
                self._outbox.add(self._model(number, self._kept.file(number)))

    def started(self, trial: Trial) -> None:
        """Records the configuration."""
        parent = {} if trial.parent is None else {"sweep.parent": str(trial.parent)}
        self._outbox.add(
            TrialStarted(
                trial=trial.number,
                name=run_name(self._study, trial),
                params=self._study.flat(trial.config),
                config=dump(dict(trial.config)),
                at_ms=_now(),
                tags={**self._tags, **parent},
            )
        )

    def advanced(self, trial: Trial, outcome: Advanced) -> None:
        """Records the epochs of a link."""
        epochs = len(outcome.history["epoch_seconds"])
        first = outcome.epoch - epochs + 1
        self._outbox.add(Epochs(trial.number, first, outcome.history, _now()))

    def ended(
        self,
        trial: Trial,
        state: Callable[[], TrainerState] | None,
        error: str | None,
        *,
        best: bool,
    ) -> None:
        """Records the end, after the weights are in their files."""
        saved = logged = None
        complete = trial.state is State.COMPLETE
        fit = complete and trial.feasible
        chosen = fit and self._kept.wants(trial.number, trial.value)
        modelled = complete and self._all_models
        if state is not None and (best or chosen or modelled or self._all_weights):
            saved = self._save(trial, state)
        if saved is not None:
            if best:
                _link(saved, self._folder.winner)
            if chosen:
                self._kept.take(trial.number, trial.value, saved)
            if modelled:
                logged = self._model(trial.number, saved)
            if not self._all_weights:
                saved.unlink()
                saved = None
        with self._outbox.batch():
            self._outbox.add(self._ending(trial, saved, error))
            if logged is not None:
                self._outbox.add(logged)

    def _ending(self, trial: Trial, weights: Path | None, error: str | None) -> TrialEnded:
        return TrialEnded(
            trial=trial.number,
            state=trial.state.value,
            epoch=trial.epoch,
            at_ms=_now(),
            reason=trial.reason,
            value=trial.value if trial.values else None,
            values=trial.values,
            metrics=_figures(trial),
            error=error,
            weights=str(weights.relative_to(self._folder.path)) if weights else None,
            tags=_tags(trial),
        )

    def _model(self, number: int, weights: Path) -> Model:
        """The record of a trial's model, with a file of its own."""
        self._folder.models.mkdir(exist_ok=True)
        file = self._folder.models / weights.name
        _link(weights, file)
        return Model(number, str(file.relative_to(self._folder.path)), _now())

    def _save(self, trial: Trial, state: Callable[[], TrainerState]) -> Path | None:
        """Writes the model of a trial; None if its state went with its machine."""
        try:
            learnt = self._datasets.trainers.learnt(trial.config, state())
        except StateLost:
            return None
        path = self._folder.weights / f"{trial.number:05}.npz"
        preprocessing = self._datasets.splits(trial.config).preprocessing
        arrays = model.arrays(learnt, preprocessing)
        about: dict[str, Any] = {"trial": trial.number, "config": dict(trial.config)}
        if math.isfinite(trial.value):
            about["value"] = trial.value
            about["replicate"] = model.best_replicate(trial.values, maximize=self._study.maximize)
        checkpoint.save(path, arrays, about)
        return path

    def left(self, trial: Trial) -> None:
        """Records that a trial was interrupted; what a later run records of it stands."""
        self._outbox.add(
            TrialEnded(
                trial=trial.number,
                state=State.STOPPED,
                epoch=trial.epoch,
                at_ms=_now(),
                reason="interrupted, to be gone on with",
                value=trial.value if trial.values else None,
                values=trial.values,
            )
        )


def run_name(study: Study, trial: Trial) -> str:
    """What a list of runs shows of a trial, such as `#17 elu he_normal before p=.23`."""
    parts = []
    for parameter in study.parameters():
        if parameter.name not in trial.params:
            continue
        value = trial.params[parameter.name]
        field = parameter.name.rpartition(".")[2]
        if isinstance(value, float):
            number = f"{value:.2g}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3g}"
            parts.append(f"{SHORT.get(field, field)}={number}")
        elif isinstance(value, str):
            parts.append(value if value != "none" else f"no {SHORT.get(field, field)}")
        else:
            parts.append(f"{SHORT.get(field, field)}={value}")
    return f"#{trial.number} {' '.join(parts)}"[:120]


def _figures(trial: Trial) -> dict[str, float]:
    """What is known once a trial: its size, the seconds of a prediction, where the time went."""
    names = ("parameters", "predict_seconds", "folded_predict_seconds")
    found = {name: trial.metrics[name] for name in names if name in trial.metrics}
    means = {name: sum(values) / len(values) for name, values in found.items()}
    return means | {f"seconds_{name}": seconds for name, seconds in trial.timings.items()}


def _tags(trial: Trial) -> dict[str, str]:
    """What a look at the trial says of it, where it ran, and the constraints that it breaks."""
    tags = {DIAGNOSIS: "; ".join(trial.diagnosis) or "healthy"} if trial.epoch else {}
    broken = ", ".join(name for name, excess in trial.excess.items() if excess > 0)
    tags |= {"sweep.infeasible": broken} if broken else {}
    if trial.host:
        device = trial.environment.get("gpu") or f"cpu ({trial.environment.get('kernel')})"
        tags |= {"sweep.worker": trial.host, "sweep.device": str(device)}
    return tags | ({"sweep.same_as": str(trial.same_as)} if trial.same_as is not None else {})


def _link(source: Path, target: Path) -> None:
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.hardlink_to(source)
    draft.replace(target)


def _now() -> int:
    return time.time_ns() // 1_000_000
