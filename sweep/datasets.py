"""The data of a study: loaded and split once, preprocessed as each trial asks, each way once."""

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from sweep.spec.study import Study
from sweep.spec.study_file import compact
from trainer.data import Data, Splits, split
from trainer.dataset import DataError
from trainer.rules import ConfigError, Problem, Technique, named
from trainer.sources import load

KEPT = 8
"""How many ways of preprocessing are kept at a time."""


class Datasets:
    """The data of one study.

    Args:
        study: the study.
        allow_code: the modules that its `data.source` may import.

    Raises:
        ConfigError: the source is absent or of no use.
    """

    def __init__(self, study: Study, allow_code: Collection[str] = ()) -> None:
        self._study = study
        self._splits = lru_cache(maxsize=KEPT)(self._split)
        try:
            self._dataset = load(study.data.source, allow_code)
            self.splits(study.first_config())
        except DataError as error:
            raise ConfigError([Problem("data.source", str(error))]) from None

    def key(self, config: Mapping[str, Any]) -> str:
        """What distinguishes the data of this configuration from those of others."""
        return compact(config["data"]["preprocess"])

    def data(self, config: Mapping[str, Any]) -> Data:
        """The training and validation rows for a configuration."""
        return self.splits(config).data

    def splits(self, config: Mapping[str, Any]) -> Splits:
        """All rows for a configuration, and how they were preprocessed."""
        name, parameters = named(config["data"]["preprocess"])
        return self._splits(name, tuple(parameters.items()))

    def _split(self, name: str, parameters: tuple[tuple[str, Any], ...]) -> Splits:
        source = self._study.data
        return split(
            self._dataset,
            validation=source.validation,
            test=source.test,
            folds=source.folds,
            preprocess=Technique(name, dict(parameters)),
            seed=self._study.search.seed,
        )
