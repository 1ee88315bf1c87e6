"""What the techniques reach on real data: budgets that were asked for, rather than peers.

Every figure is a mean over replicates on the test split, which chose nothing: configurations were
fixed beforehand, on the validation split.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Row, row
from trainer.arrays import Array
from trainer.config import Config
from trainer.data import Fold, Splits, split
from trainer.prediction import evaluate
from trainer.rules import Technique, check
from trainer.sources import load
from trainer.training import train, weights

REPLICATES = 5
ERROR = 0.11
"""Largest share of wrong answers on Fashion-MNIST's test split with the default recipe."""

FEW = 10_000
"""Training rows on which a CNN is held against the MLP."""

KEPT = 0.2
"""Largest share of weights that are not 0 in a sparse net."""

LOSS = 0.01
"""Largest loss of accuracy against the same net with all its weights."""

RECIPE = {"activation": "elu", "init": "he_normal", "batch_norm": "after", "dropout": 0.2}
"""He, ELU, batch norm, dropout; with Adam and no schedule (Géron 2017, table 11-2)."""


def run(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Sparse nets on digits; the default recipe on Fashion-MNIST, where its files are at hand."""
    rows = _sparse()
    place = folder() / "fashion-mnist"
    if quick:
        return rows, {}
    if not place.is_dir():
        print(f"Fashion-MNIST takes no part: no {place}", file=sys.stderr)
        return rows, {}
    return [*rows, *_recipe(place), _convolutions(place)], {}


def folder() -> Path:
    """Where real data lie: `$SWEEP_TEST_DATA`, else `shared/data` beside the project."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    return Path(os.environ.get("SWEEP_TEST_DATA", beside))


def _sparse() -> list[Row]:
    """L1 and FTRL against the same nets without.

    FTRL starts where the initial weights are a fixed point (see `optimisers`), so a weight is 0
    only once its gradients have carried it there: small initial weights get there first.
    """
    splits = _splits("digits", validation=0.2, test=0.2)
    rows = []
    momentum = {"optimizer": "momentum", "learning_rate": 0.1, "epochs": 60}
    ftrl = {"learning_rate": 0.3, "epochs": 100}
    small = {"normal": {"sigma": 0.01}}
    for name, init, dense, sparse in (
        ("L1 0.01", "he_normal", momentum, momentum | {"l1": 0.01}),
        ("FTRL", small, ftrl | {"optimizer": "ftrl"}, ftrl | {"optimizer": {"ftrl": {"l1": 1.0}}}),
    ):
        model = {"hidden": [64, 64], "init": init}
        plain, _ = _trained(splits, model, dense)
        accuracy, kept = _trained(splits, model, sparse)
        rows.append(
            row(f"digits, {name}: share of weights that are not 0", kept, KEPT, kept / KEPT, 1.0)
        )
        lost = plain - accuracy
        rows.append(row(f"digits, {name}: accuracy lost", lost, LOSS, lost / LOSS, 1.0))
    return rows


def _recipe(place: Path) -> list[Row]:
    splits = _splits(f"idx:{place}", validation=0.1, test=None)
    training = {"optimizer": "adam", "learning_rate": 1e-3, "batch_size": 128, "epochs": 20}
    accuracy, _ = _trained(splits, RECIPE | {"hidden": [256, 128]}, training)
    error = 1 - accuracy
    return [row("Fashion-MNIST, default recipe: test error", error, ERROR, error / ERROR, 1.0)]


def _convolutions(place: Path) -> Row:
    """A small CNN against the MLP with the same recipe, on few rows to keep it short."""
    splits = _splits(f"idx:{place}", validation=0.1, test=None)
    (fold,) = splits.data.folds
    few = Fold(fold.x_train[:FEW], fold.y_train[:FEW], fold.x_val[:1000], fold.y_val[:1000])
    splits = replace(splits, data=replace(splits.data, folds=(few,)))
    training = {"optimizer": "adam", "learning_rate": 1e-3, "batch_size": 128, "epochs": 10}
    mlp, _ = _trained(splits, RECIPE | {"hidden": [256, 128]}, training)
    architecture = {"cnn": {"channels": [16, 32]}}
    images = RECIPE | {"hidden": [128], "architecture": architecture}
    cnn, _ = _trained(splits, images, training)
    name = f"Fashion-MNIST, {FEW:,} rows: test error of a CNN / of the MLP"
    return row(name, 1 - cnn, 1 - mlp, (1 - cnn) / (1 - mlp), 1.0)


def _splits(source: str, *, validation: float, test: float | None) -> Splits:
    preprocess = Technique("standardize", {})
    return split(
        load(source), validation=validation, test=test, folds=None, preprocess=preprocess, seed=0
    )


def _trained(
    splits: Splits, model: dict[str, Any], training: dict[str, Any]
) -> tuple[float, float]:
    """The mean test accuracy over the replicates, and the share of weights that are not 0."""
    config = check(Config, {"model": model, "training": training})
    progress = train(config, splits.data, None, training["epochs"], seed=0, replicates=REPLICATES)
    found = weights(config, progress.state)
    accuracy = evaluate(config, found, *splits.test())["accuracy"]
    matrices = [array for name, array in found.items() if name.endswith(".weight")]
    return float(accuracy.mean()), _density(matrices)


def _density(matrices: list[Array]) -> float:
    return sum(np.count_nonzero(each) for each in matrices) / sum(each.size for each in matrices)
