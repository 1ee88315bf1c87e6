"""The trainer as scikit-learn estimators; the one file that builds on scikit-learn.

Example:
    model = Classifier(hidden=(64, 64), activation="relu", batch_norm="after").fit(x, y)
    model.predict_proba(x_new)
    Regressor(hidden=(16,), dropout=0.1, early_stopping={"patience": 20}).fit(x, y).score(x, y)
"""

from collections.abc import Mapping
from dataclasses import replace
from inspect import Parameter, Signature
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from trainer.arrays import Array
from trainer.config import Config, Model, Training
from trainer.data import Data, Fold, split
from trainer.dataset import Dataset
from trainer.folding import fold
from trainer.losses import LOSSES, OF_NUMBERS
from trainer.prediction import predict
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
    """What an estimator can be told beside the net and its training."""

    preprocess: Technique = setting(
        "standardize",
        Choice({name: entry.parameters for name, entry in PREPROCESSING.items()}),
        "fitted on the training rows only",
    )
    validation: float = setting(
        0.2,
        Real(0, 1, open_low=True, open_high=True),
        "share of the rows that early stopping and the schedule on a plateau watch; without "
        "either all rows train",
    )
    random_state: int = setting(0, Integer(0), "the seed")


_EVERY: dict[str, Setting] = settings(Model) | settings(Training) | settings(Fitting)


def _with_losses(*, of_numbers: bool, without: tuple[str, ...] = ()) -> dict[str, Setting]:
    """The fields of `model`, of `training` and of `Fitting`, flat, with the losses of one task."""
    names = [name for name in LOSSES if (name in OF_NUMBERS) == of_numbers]
    loss = Setting(names[0], Choice({name: {} for name in names}), _EVERY["loss"].note)
    return {name: each for name, each in (_EVERY | {"loss": loss}).items() if name not in without}


def _taking(parameters: Mapping[str, Setting]) -> Any:
    """An `__init__` with these parameters, by name alone."""

    def init(self: BaseEstimator, **given: Any) -> None:
        unknown = [name for name in given if name not in parameters]
        if unknown:
            hint = nearest(unknown[0], parameters)
            raise TypeError(f"{type(self).__name__} has no parameter {unknown[0]}{hint}")
        for name, entry in parameters.items():
            setattr(self, name, given.get(name, entry.default))

    # from here scikit-learn takes the parameters, and `help` as well
    init.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter("self", Parameter.POSITIONAL_ONLY)]
        + [
            Parameter(name, Parameter.KEYWORD_ONLY, default=entry.default)
            for name, entry in parameters.items()
        ]
    )
    return init


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """What both estimators are: a net with its preprocessing, under scikit-learn's interface.

    Its parameters are the fields of `trainer.config.Model` and `Training` and those of `Fitting`,
    written as in a study file: `activation={"leaky_relu": {"alpha": 0.1}}`. They are checked by
    `fit`.

    It is one net: replicate 0 of the seed `random_state`. To average several would be another model
    than the one that the parameters describe, at several times its cost; scikit-learn's
    `VotingClassifier` and `VotingRegressor` do so where it is wanted.

    Attributes:
        config_: configuration of the net that predicts: batch norm is folded into its weights.
        weights_: its arrays by name, each with a replicate axis of length one; in float64, so that
            the place of a row among others does not show in what it answers.
        preprocessing_: the arrays of `trainer.preprocessing.transform`.
        n_features_in_: D.
    """

    _parameters: ClassVar[Mapping[str, Setting]]

    def _checked(self) -> tuple[Config, Fitting]:
        given = {name: _plain(value) for name, value in self.get_params(deep=False).items()}
        problems: list[Problem] = []
        tree = read_settings(self._parameters, given, "", problems)
        if problems:
            raise ConfigError(problems)
        whole = {name: entry.default for name, entry in _EVERY.items()} | tree
        return Config(build(Model, whole), build(Training, whole)), build(Fitting, whole)

    def fit(self, X: Any, y: Any) -> Self:
        """Trains the net on the rows X (N, D) and their y, see the class.

        Raises:
            ConfigError: parameters that break their rules, each with the rule and the value.
            ValueError: X or y is of no use.
            FloatingPointError: the loss became NaN or infinite.
        """
        config, fitting = self._checked()
        data, self.preprocessing_ = _prepared(self._dataset(X, y), config, fitting)
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

    def _dataset(self, X: Any, y: Any) -> Dataset:
        """Rows and y, checked, without a test split; notes what predictions need to know of y."""
        raise NotImplementedError

    def _rows(self, X: Any) -> Array:
        """X as the net takes it, once it has been fitted."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return transform(self.preprocessing_, X)


class Classifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A net that tells classes apart; y are their labels (N,), numbers or words.

    Attributes:
        classes_: the labels in order (K,).
    """

    _parameters = _with_losses(of_numbers=False)
    __init__ = _taking(_parameters)

    def _dataset(self, X: Any, y: Any) -> Dataset:
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y: must have at least two classes, got one class ({self.classes_[0]})"
            )
        classes = tuple(map(str, range(len(self.classes_))))
        return Dataset(X, labels, classes)

    def predict_proba(self, X: Any) -> Array:
        """The probabilities (N, K) of the classes for the rows X (N, D)."""
        x = self._rows(X)
        return np.asarray(predict(self.config_, self.weights_, x)[0])

    def predict(self, X: Any) -> Array:
        """The most likely label (N,) of each row of X (N, D)."""
        most_likely = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[most_likely])


class Regressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """A net that predicts numbers y (N,) or (N, K), by their mean squared error."""

    _parameters = _with_losses(of_numbers=True, without=("label_smoothing", "per_class"))
    __init__ = _taking(_parameters)

    def _dataset(self, X: Any, y: Any) -> Dataset:
        X, y = validate_data(self, X, y, dtype=np.float32, multi_output=True, y_numeric=True)
        if len(X) < 2:
            raise ValueError("X: must have at least two rows, which y can vary over, got 1 sample")
        self._flat = y.ndim == 1
        targets = np.asarray(y, np.float64).reshape(len(X), -1)
        names = tuple(f"y{each}" for each in range(targets.shape[1]))
        return Dataset(X, targets, (), targets=names)

    def predict(self, X: Any) -> Array:
        """The targets (N,) or (N, K), as they were given, of the rows X (N, D)."""
        x = self._rows(X)
        found = predict(self.config_, self.weights_, x)[0]
        return np.asarray(found[:, 0] if self._flat else found)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _prepared(dataset: Dataset, config: Config, fitting: Fitting) -> tuple[Data, dict[str, Array]]:
    """The rows as the trainer takes them, and the preprocessing that made them."""
    x, y, watched = dataset.x, dataset.y, config.training.monitors.values()
    if not watched:
        fitted = fit(fitting.preprocess, x)
        rows = transform(fitted, x)
        # the trainer validates in every epoch; here nobody looks, so a row is enough
        return Data((Fold(rows, y, rows[:1], y[:1]),), len(dataset.classes)), fitted
    splits = split(
        replace(dataset, test=(x[:0], y[:0])),
        validation=fitting.validation,
        test=None,
        folds=None,
        preprocess=fitting.preprocess,
        seed=fitting.random_state,
        scored="val_r2" in watched,
    )
    return splits.data, splits.preprocessing[0]


def _plain(value: Any) -> Any:
    """A number of NumPy's, as scikit-learn's searches set it, as one of Python's."""
    return value.item() if isinstance(value, np.generic) else value
