"""The trainer as a scikit-learn classifier; the one file that builds on scikit-learn.

Example:
    model = Classifier(hidden=(64, 64), activation="relu", batch_norm="after").fit(x, y)
    model.predict_proba(x_new)
"""

from inspect import Parameter, Signature
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from trainer.arrays import Array
from trainer.config import Config, Model, Training
from trainer.data import Data, Fold, split
from trainer.dataset import Dataset
from trainer.folding import fold
from trainer.prediction import predict_proba
from trainer.preprocessing import PREPROCESSING, fit, transform
from trainer.reading import read_settings
from trainer.rules import (
    Choice,
    ConfigError,
    Integer,
    Problem,
    Real,
    Setting,
    Technique,
    build,
    nearest,
    section,
    setting,
    settings,
)
from trainer.state import weights
from trainer.training import train


@section
class Fitting:
    """What `Classifier` can be told beside the net and its training."""

    preprocess: Technique = setting(
        "standardize",
        Choice({name: entry.parameters for name, entry in PREPROCESSING.items()}),
        "fitted on the training rows only",
    )
    validation: float = setting(
        0.2,
        Real(0, 1, open_low=True, open_high=True),
        "share of the rows that early stopping validates on; without it all rows train",
    )
    random_state: int = setting(0, Integer(0), "the seed")


PARAMETERS: dict[str, Setting] = settings(Model) | settings(Training) | settings(Fitting)
"""The parameters of `Classifier`: the fields of `model`, of `training` and of `Fitting`, flat."""


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A multilayer perceptron with scikit-learn's interface.

    Its parameters are the fields of `trainer.config.Model` and `Training` and those of `Fitting`,
    written as in a study file: `activation={"leaky_relu": {"alpha": 0.1}}`. They are checked by
    `fit`.

    It is one net: replicate 0 of the seed `random_state`. To average several would be another model
    than the one that the parameters describe, at several times its cost; scikit-learn's
    `VotingClassifier` does so where it is wanted.

    Attributes:
        classes_: the labels in order (K,).
        config_: configuration of the net that predicts: batch norm is folded into its weights.
        weights_: its arrays by name, each with a replicate axis of length one; in float64, so that
            the place of a row among others does not show in its probabilities.
        preprocessing_: the arrays of `trainer.preprocessing.transform`.
        n_features_in_: D.
    """

    def __init__(self, **parameters: Any) -> None:
        unknown = [name for name in parameters if name not in PARAMETERS]
        if unknown:
            hint = nearest(unknown[0], PARAMETERS)
            raise TypeError(f"Classifier has no parameter {unknown[0]}{hint}")
        for name, entry in PARAMETERS.items():
            setattr(self, name, parameters.get(name, entry.default))

    # from here scikit-learn takes the parameters, and `help` as well
    __init__.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter("self", Parameter.POSITIONAL_ONLY)]
        + [
            Parameter(name, Parameter.KEYWORD_ONLY, default=entry.default)
            for name, entry in PARAMETERS.items()
        ]
    )

    def fit(self, X: Any, y: Any) -> Self:
        """Trains the net on the rows X (N, D) and their labels y (N,), numbers or words.

        Raises:
            ConfigError: parameters that break their rules, each with the rule and the value.
            ValueError: X or y is of no use for classification.
            FloatingPointError: the loss became NaN or infinite.
        """
        config, fitting = self._checked()
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y: must have at least two classes, got one class ({self.classes_[0]})"
            )
        data, self.preprocessing_ = _prepared(X, labels, config, fitting)
        seed, epochs = fitting.random_state, config.training.epochs
        progress = train(config, data, None, epochs, seed=seed, replicates=1)
        if progress.diverged is not None:
            raise FloatingPointError(
                f"diverged at epoch {progress.diverged}: the loss must stay finite; "
                f"a learning_rate below {config.training.learning_rate:g} may help"
            )
        found = weights(config, progress.state)
        exact = {name: array.astype(np.float64) for name, array in found.items()}
        self.config_, self.weights_ = fold(config, exact)
        return self

    def predict_proba(self, X: Any) -> Array:
        """The probabilities (N, K) of the classes for the rows X (N, D)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        x = transform(self.preprocessing_, X)
        return np.asarray(predict_proba(self.config_, self.weights_, x)[0])

    def predict(self, X: Any) -> Array:
        """The most likely label (N,) of each row of X (N, D)."""
        most_likely = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[most_likely])

    def _checked(self) -> tuple[Config, Fitting]:
        given = {name: _plain(value) for name, value in self.get_params(deep=False).items()}
        problems: list[Problem] = []
        tree = read_settings(PARAMETERS, given, "", problems)
        if problems:
            raise ConfigError(problems)
        return Config(build(Model, tree), build(Training, tree)), build(Fitting, tree)


def _prepared(
    x: Array, y: Array, config: Config, fitting: Fitting
) -> tuple[Data, dict[str, Array]]:
    """The rows as the trainer takes them, and the preprocessing that made them."""
    classes = tuple(map(str, range(y.max() + 1)))
    if config.training.early_stopping is None:
        fitted = fit(fitting.preprocess, x)
        rows = transform(fitted, x)
        # the trainer validates in every epoch; here nobody looks, so a row is enough
        return Data((Fold(rows, y, rows[:1], y[:1]),), len(classes)), fitted
    splits = split(
        Dataset(x, y, classes, test=(x[:0], y[:0])),
        validation=fitting.validation,
        test=None,
        folds=None,
        preprocess=fitting.preprocess,
        seed=fitting.random_state,
    )
    return splits.data, splits.preprocessing[0]


def _plain(value: Any) -> Any:
    """A number of NumPy's, as scikit-learn's searches set it, as one of Python's."""
    return value.item() if isinstance(value, np.generic) else value
