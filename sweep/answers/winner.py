"""The winner of a study, and the looks at the test split that it alone is given."""

import datetime as dt
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from sweep import model
from sweep.answers.results import TEST, TrialResult, read
from sweep.answers.retraining import retrained
from sweep.answers.validation import noted, validation
from sweep.datasets import Datasets
from sweep.recording.records import Winner
from sweep.scheduling.runner import Raised
from sweep.search.storage import Storage
from sweep.spec.study import Study
from sweep.workspace import StudyFolder
from trainer import checkpoint
from trainer.arrays import Array
from trainer.tasks import REGRESSION, explained


def look(study: Study, storage: Storage, folder: StudyFolder, datasets: Datasets) -> None:
    """Evaluates the winner on the test split, unless that has been done, and logs the look.

    What it says of the validation rows is noted beside it.
    """
    best = read(folder).best
    looks = storage.notes().get(TEST, [])
    looked = best is not None and any(each["trial"] == best.number for each in looks)
    if best is None or (looked and folder.winner.exists()):
        return
    plain = study.config(best.params)
    arrays = _arrays(study, best, folder, datasets)  # its file, too, is made where it is lost
    if looked:
        return
    scores = _test_scores(plain, arrays, datasets)
    entry = {
        "trial": best.number,
        "mean": float(np.mean(scores)),
        "sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0,
        "values": scores,
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    storage.note(TEST, [*looks, entry])
    said = validation(best.number, plain, arrays, datasets, at_ms=0)
    if said is not None:
        storage.note(*noted(said))


def record(study: Study, best: TrialResult, datasets: Datasets, at_ms: int) -> Winner:
    """What the recorder needs to register the winner as a model."""
    return Winner(
        trial=best.number,
        metric=study.metric,
        value=float(best.value or 0.0),
        maximize=study.maximize,
        data=datasets.digest,
        at_ms=at_ms,
    )


def _arrays(
    study: Study, best: TrialResult, folder: StudyFolder, datasets: Datasets
) -> dict[str, Array]:
    """The winner's model from its file; trained again if a crash has left another one there."""
    with suppress(checkpoint.CheckpointError):
        kept = checkpoint.load(folder.winner)
        if kept.config["trial"] == best.number:
            return kept.arrays
    plain = study.config(best.params)
    outcome, state, _ = retrained(read(folder), best, datasets, cards=False)
    if isinstance(outcome, Raised) or state is None:
        raise RuntimeError(f"trial {best.number} could not be trained again")
    learnt = datasets.trainers.learnt(plain, state)
    arrays = model.arrays(learnt, datasets.splits(plain).preprocessing)
    values = [np.nan if each is None else each for each in best.values]
    replicate = model.best_replicate(values, maximize=study.maximize)
    about = {"trial": best.number, "config": plain, "replicate": replicate}
    checkpoint.save(folder.winner, arrays, about)
    return arrays


def _test_scores(
    plain: Mapping[str, Any], arrays: Mapping[str, Array], datasets: Datasets
) -> list[float]:
    """The accuracy, or R², of every replicate on the test rows.

    Each has its fold's preprocessing.
    """
    splits = datasets.splits(plain)
    rows = [splits.test(fold)[0] for fold in range(len(splits.preprocessing))]
    answers = datasets.trainers.predict(plain, model.weights_of(arrays), rows)
    y = splits.raw_test[1]
    if splits.data.task is REGRESSION:
        return [float(explained(y, each).mean()) for each in answers]
    return [float(np.mean(each.argmax(axis=1) == y)) for each in answers]
