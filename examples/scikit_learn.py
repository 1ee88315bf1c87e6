"""A trainer of one's own: linear classifiers of scikit-learn's, an epoch at a time.

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
"""What scikit-learn calls the weights, the biases and the steps so far."""


class Linear:
    """Linear classifiers by stochastic gradient descent, one a replicate.

    A study file gives the arguments under `model`, as values or as distributions.
    """

    def __init__(self, **options: Any) -> None:
        self._options = {"learning_rate": "constant", "penalty": "elasticnet", **options}

    def train(
        self, data: Data, state: State | None, until: int, *, seed: int, replicates: range
    ) -> Progress:
        """Each epoch draws the order of the rows from (seed, replicate, epoch)."""
        folds = [data.fold(place) for place in range(len(replicates))]
        models = [self._model(state, place, data.classes) for place in range(len(replicates))]
        epochs = []
        for epoch in range(0 if state is None else int(state["epoch"]), until):
            for model, fold, replicate in zip(models, folds, replicates, strict=True):
                (draw,) = np.random.SeedSequence([seed, replicate, epoch]).generate_state(1)
                model.set_params(random_state=int(draw))
                model.partial_fit(fold.x_train, fold.y_train, classes=np.arange(data.classes))
            epochs.append([_scores(*each) for each in zip(models, folds, strict=True)])
        history = {
            name: np.array([[each[name] for each in scores] for scores in epochs])
            for name in epochs[0][0]
        }
        metrics = {name: values[-1] for name, values in history.items()}
        metrics["parameters"] = np.array(
            [each.coef_.size + each.intercept_.size for each in models]
        )
        learnt = {name: np.stack([getattr(each, name) for each in models]) for name in LEARNT}
        return Progress(learnt, until, history, metrics)

    def predict_proba(self, state: State, x: Array) -> Array:
        """Class probabilities (R, n, K)."""
        count, outputs = state["intercept_"].shape
        models = [self._model(state, place, max(2, outputs)) for place in range(count)]
        return np.stack([each.predict_proba(x) for each in models])

    def _model(self, state: State | None, place: int, classes: int) -> Any:
        """A replicate's model as the state has it."""
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
        found[f"{part}_accuracy"] = float(np.mean(odds.argmax(axis=1) == y))
    return found
