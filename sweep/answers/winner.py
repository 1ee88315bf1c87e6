"""The winner of a study, and the looks at the test split that it alone is given."""

import datetime as dt
from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from sweep import model
from sweep.answers.confusion import confusion
from sweep.answers.results import CONFUSION, TEST, TrialResult, read
from sweep.answers.retraining import retrained
from sweep.datasets import Datasets
from sweep.recording.records import Winner
from sweep.scheduling.runner import Raised
from sweep.search.storage import Storage
from sweep.spec.study import Study
from sweep.workspace import StudyFolder
from trainer import checkpoint
from trainer.arrays import Array
from trainer.config import Config
from trainer.data import Splits
from trainer.prediction import evaluate
from trainer.rules import build


def look(study: Study, storage: Storage, folder: StudyFolder, datasets: Datasets) -> None:
    """Evaluates the winner on the test split, unless that has been done, and logs the look.

    What it confuses on the validation rows is noted beside it.
    """
    best = read(folder).best
    looks = storage.notes().get(TEST, [])
    if best is None or any(each["trial"] == best.number for each in looks):
        return
    plain = study.config(best.params)
    config, splits = build(Config, plain), datasets.splits(plain)
    weights = _weights(study, best, folder, datasets)
    accuracy = _test_accuracy(study, weights, best, splits)
    counts = confusion(config, weights, splits)
    entry = {
        "trial": best.number,
        "mean": float(np.mean(accuracy)),
        "sd": float(np.std(accuracy, ddof=1)) if len(accuracy) > 1 else 0.0,
        "values": accuracy,
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    storage.note(TEST, [*looks, entry])
    storage.note(
        CONFUSION,
        {
            "trial": best.number,
            "replicates": len(study.replicates_of(best.number)),
            "counts": counts.tolist(),
            "classes": list(datasets.classes),
        },
    )


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


def _weights(
    study: Study, best: TrialResult, folder: StudyFolder, datasets: Datasets
) -> dict[str, Array]:
    """The winner's weights from its file; trained again if a crash has left another one there."""
    with suppress(checkpoint.CheckpointError):
        kept = checkpoint.load(folder.winner)
        if kept.config["trial"] == best.number:
            return kept.arrays
    plain = study.config(best.params)
    outcome, state = retrained(read(folder), best, datasets, gpu=False)
    if isinstance(outcome, Raised) or state is None:
        raise RuntimeError(f"trial {best.number} could not be trained again")
    config = build(Config, plain)
    arrays = model.arrays(config, state, datasets.splits(plain).preprocessing)
    values = [np.nan if each is None else each for each in best.values]
    replicate = model.best_replicate(values, maximize=study.maximize)
    about = {"trial": best.number, "config": plain, "replicate": replicate}
    checkpoint.save(folder.winner, arrays, about)
    return arrays


def _test_accuracy(
    study: Study, arrays: Mapping[str, Array], best: TrialResult, splits: Splits
) -> list[float]:
    """The accuracy of every replicate on the test rows, each with its fold's preprocessing."""
    config = build(Config, study.config(best.params))
    kept = model.weights_of(arrays)
    if len(splits.preprocessing) == 1:
        scores = evaluate(config, kept, *splits.test())
        return [float(each) for each in scores["accuracy"]]
    found = []
    for fold in range(len(splits.preprocessing)):
        mine = {name: each[fold : fold + 1] for name, each in kept.items()}
        scores = evaluate(config, mine, *splits.test(fold))
        found.append(float(scores["accuracy"][0]))
    return found
