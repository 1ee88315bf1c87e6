"""Whether zeros predict faster: the nets of `studies/sparse.yaml` with SciPy's CSR and with NumPy.

Each is trained as the study has it, and then predicts the same rows both ways, in turn, on one
thread. Ours is CSR: a row of it is a unit, with the weights of that unit which are not zero.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from benchmarks.report import Row, row
from sweep.datasets import Datasets
from sweep.spec import space
from sweep.spec.catalogue import STUDIES
from sweep.spec.study import check
from sweep.spec.study_file import load
from trainer.arrays import Array
from trainer.config import Config
from trainer.rules import build
from trainer.state import weights
from trainer.training import train

ROWS = 1000
"""Rows predicted at once."""

Layers = Sequence[tuple[Any, Array]]
"""Of each layer its weights (units, inputs), as an array or as CSR, and its biases (units, 1)."""


def run(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Milliseconds of a prediction."""
    study = check(load(STUDIES / "sparse.yaml"))
    datasets, rows = Datasets(study), []
    with threadpool_limits(1):
        for cell in space.cells(study.template):
            plain = study.config(cell)
            config, data = build(Config, plain), datasets.data(plain)
            epochs, seed = config.training.epochs, study.search.seed
            made = train(config, data, None, epochs, seed=seed, replicates=1)
            x = np.resize(data.folds[0].x_train, (ROWS, data.folds[0].x_train.shape[1])).T.copy()
            dense = layers(weights(config, made.state))
            zeros = np.mean(np.concatenate([weight.ravel() == 0 for weight, _ in dense]))
            sparse = compressed(dense)
            timed = [
                (_milliseconds(sparse, x), _milliseconds(dense, x))
                for _ in range(20 if quick else 200)
            ]
            ours, peer = (statistics.median(each) for each in zip(*timed, strict=True))
            ratio = statistics.median(mine / theirs for mine, theirs in timed)
            accuracy = float(made.metrics["val_accuracy"][0])
            name = f"L1 {config.training.l1:g}: {zeros:.1%} zeros, accuracy {accuracy:.3f}"
            rows.append(row(f"{name}: ms of {ROWS} rows, CSR / NumPy", ours, peer, ratio, None))
    return rows, {"threads": 1}


def layers(learnt: Mapping[str, Array]) -> Layers:
    """Of the first replicate of a ReLU net without batch norm."""
    depth = sum(name.endswith(".weight") for name in learnt)
    return [
        (np.ascontiguousarray(learnt[f"{at}.weight"][0].T), learnt[f"{at}.bias"][0].reshape(-1, 1))
        for at in range(depth)
    ]


def compressed(dense: Layers) -> Layers:
    """The same without the zeros."""
    return [(csr_array(weight), bias) for weight, bias in dense]


def scores(net: Layers, x: Array) -> Array:
    """The scores (K, N) of the columns of x (D, N)."""
    for at, (weight, bias) in enumerate(net):
        x = weight @ x
        x += bias
        if at + 1 < len(net):
            np.maximum(x, 0, out=x)
    return x


def _milliseconds(net: Layers, x: Array) -> float:
    started = time.perf_counter()
    scores(net, x)
    return 1e3 * (time.perf_counter() - started)
