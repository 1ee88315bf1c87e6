"""The winner of a study, and the looks at the test split that it alone is given."""

import datetime as dt
from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from sweep import model
from sweep.answers.results import CONFUSION, TEST, TrialResult, read
from sweep.datasets import Datasets
from sweep.recording.records import Winner
from sweep.scheduling.runner import Link, Raised, advance
from sweep.search.storage import Storage
from sweep.spec.study import Study
from sweep.workspace import StudyFolder
from trainer import checkpoint
from trainer.arrays import Array
from trainer.config import Config
from trainer.data import Splits
from trainer.prediction import evaluate, predict_proba
from trainer.rules import build

EXAMPLES = 2
"""How many raw rows go with a model."""


def look(study: Study, storage: Storage, folder: StudyFolder, datasets: Datasets) -> None:
    """Evaluates the winner on the test split, unless that has been done, and logs the look.

    What it confuses on the validation rows is noted beside it.
    """
    best = read(folder).best
    looks = storage.notes().get(TEST, [])
    if best is None or any(each["trial"] == best.number for each in looks):
        return
    splits = datasets.splits(study.config(best.params))
    weights = _weights(study, best, folder, splits)
    accuracy = _test_accuracy(study, weights, best, splits)
    counts = _confusion(study, weights, best, splits)
    entry = {
        "trial": best.number,
        "mean": float(np.mean(accuracy)),
        "sd": float(np.std(accuracy, ddof=1)) if len(accuracy) > 1 else 0.0,
        "values": accuracy,
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    storage.note(TEST, [*looks, entry])
    count = len(study.replicates_of(best.number))
    confusion = {"trial": best.number, "replicates": count, "counts": counts.tolist()}
    storage.note(CONFUSION, confusion | {"classes": list(datasets.classes)})


def record(study: Study, best: TrialResult, datasets: Datasets, at_ms: int) -> Winner:
    """What the recorder needs to register the winner as a model."""
    known = [float("nan") if each is None else each for each in best.values]
    x, _ = datasets.splits(study.config(best.params)).raw_test
    return Winner(
        trial=best.number,
        metric=study.metric,
        value=float(best.value or 0.0),
        maximize=study.maximize,
        replicate=int(np.nanargmax(known) if study.maximize else np.nanargmin(known)),
        source=study.data.source,
        data=datasets.digest(),
        example=np.asarray(x[:EXAMPLES], dtype=np.float32).tolist(),
        classes=list(datasets.classes),
        at_ms=at_ms,
    )


def _weights(
    study: Study, best: TrialResult, folder: StudyFolder, splits: Splits
) -> dict[str, Array]:
    """The winner's weights from its file; trained again if a crash has left another one there."""
    with suppress(checkpoint.CheckpointError):
        kept = checkpoint.load(folder.winner)
        if kept.config["trial"] == best.number:
            return kept.arrays
    plain = study.config(best.params)
    epochs = int(plain["training"]["epochs"])
    seed, seeds = study.search.seed, study.replicates_of(best.number)
    link = Link(best.number, plain, epochs, seed, len(seeds), study.threads, first=seeds.start)
    outcome, state = advance(link, splits.data, None)
    if isinstance(outcome, Raised) or state is None:
        raise RuntimeError(f"trial {best.number} could not be trained again")
    config = build(Config, plain)
    arrays = model.arrays(config, state, splits.preprocessing)
    checkpoint.save(folder.winner, arrays, {"trial": best.number, "config": plain})
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


def _confusion(
    study: Study, arrays: Mapping[str, Array], best: TrialResult, splits: Splits
) -> Array:
    """How often each true class (rows) is taken for each class (columns); (K, K) int64."""
    config = build(Config, study.config(best.params))
    kept = model.weights_of(arrays)
    counts = np.zeros((splits.data.classes, splits.data.classes), np.int64)
    for replicate in range(len(study.replicates_of(best.number))):
        mine = {name: each[replicate : replicate + 1] for name, each in kept.items()}
        fold = splits.data.fold(replicate)
        predicted = predict_proba(config, mine, fold.x_val)[0].argmax(axis=1)
        np.add.at(counts, (fold.y_val, predicted), 1)
    return counts
