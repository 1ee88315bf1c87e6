"""A trainer of one's own: a linear classifier of scikit-learn's, an epoch at a time.

Run from the folder that holds `examples`:
    python -m sweep run examples/scikit_learn.yaml --allow-code examples.scikit_learn
"""

from typing import Any

import numpy as np
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss

from trainer.arrays import Array
from trainer.data import Data, Fold
from trainer.protocol import Progress
from trainer.state import State

LEARNT = ("coef_", "intercept_", "t_")
"""What scikit-learn calls the weights, the biases, and the count of steps."""


class Linear:
    """Trains R linear classifiers by stochastic gradient descent.

    The arguments are what a study file may give or search under `model`.
    """

    def __init__(
        self,
        alpha: float = 1e-4,
        l1_ratio: float = 0.15,
        loss: str = "log_loss",
        eta0: float = 0.01,
    ) -> None:
        self._options: dict[str, Any] = {"alpha": alpha, "l1_ratio": l1_ratio, "loss": loss}
        self._options |= {"eta0": eta0, "learning_rate": "adaptive", "penalty": "elasticnet"}

    def train(
        self, data: Data, state: State | None, until: int, *, seed: int, replicates: range
    ) -> Progress:
        """Trains one epoch after the other; the order of the rows is drawn anew in each."""
        begun = 0 if state is None else int(state["epoch"])
        folds = [data.fold(place) for place in range(len(replicates))]
        models = [self._model(state, place, data.classes) for place in range(len(replicates))]
        epochs = []
        for epoch in range(begun, until):
            for model, fold, replicate in zip(models, folds, replicates, strict=True):
                draw = np.random.SeedSequence([seed, replicate, epoch]).generate_state(1)
                model.set_params(random_state=int(draw[0]))
                model.partial_fit(fold.x_train, fold.y_train, classes=np.arange(data.classes))
            epochs.append([_scores(*each) for each in zip(models, folds, strict=True)])
        history = {name: np.array([[r[name] for r in e] for e in epochs]) for name in epochs[0][0]}
        metrics = {name: values[-1] for name, values in history.items()}
        metrics["parameters"] = np.array(
            [model.coef_.size + model.intercept_.size for model in models]
        )
        learnt = {name: np.stack([getattr(model, name) for model in models]) for name in LEARNT}
        return Progress(learnt, until, history, metrics)

    def predict_proba(self, state: State, x: Array) -> Array:
        """Class probabilities (R, n, K)."""
        count = len(state["coef_"])
        classes = max(2, state["coef_"].shape[1])
        return np.stack([self._model(state, r, classes).predict_proba(x) for r in range(count)])

    def _model(self, state: State | None, place: int, classes: int) -> Any:
        model = SGDClassifier(**self._options)
        if state is not None:
            model.classes_ = np.arange(classes)
            for name in LEARNT:
                setattr(model, name, state[name][place])
        return model


def _scores(model: Any, fold: Fold) -> dict[str, float]:
    found = {}
    for part, x, y in (("train", fold.x_train, fold.y_train), ("val", fold.x_val, fold.y_val)):
        odds = model.predict_proba(x)
        found[f"{part}_loss"] = float(log_loss(y, odds, labels=model.classes_))
        found[f"{part}_accuracy"] = float(np.mean(model.classes_[odds.argmax(axis=1)] == y))
    return found
