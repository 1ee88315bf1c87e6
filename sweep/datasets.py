"""The data of a study: loaded and split once, preprocessed as each trial asks, each way once.

What its trials are trained by comes with them, since it must go with the data.
"""

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sweep import zoo
from sweep.nets import Nets
from sweep.own import Own
from sweep.scheduling.placement import GIB
from sweep.scheduling.runner import Maker
from sweep.spec.fields import Resources
from sweep.spec.places import Elsewhere
from sweep.spec.study import Study
from sweep.spec.study_file import compact
from sweep.trainers import Trainers
from trainer.data import Data, Splits, pictured, split
from trainer.dataset import DataError, Dataset, Unseen, only
from trainer.preprocessing import PREPROCESSING, blocks
from trainer.resizing import Size
from trainer.rules import ConfigError, Problem, Technique, named
from trainer.selection import on_disk
from trainer.sources import load
from trainer.table import TableError

KEPT = 8
"""How many ways of preprocessing are kept at a time."""

STORE = 0.3
"""The part of a machine's memory that Ray's object store takes, where data are that are not large.

Ray's own default.
"""

CONTAINER = Path("/sys/fs/cgroup/memory.max")
"""Where Linux says how much memory a container may take."""


class Datasets:
    """The data of one study.

    Args:
        study: the study.
        tracking_uri: the MLflow store in which models to start from are looked up.
        allow_code: the modules that its `data.source` and its `trainer` may import.

    Attributes:
        trainers: who trains on them.
        sources: a digest of each model that the search space can start from, by name.

    Raises:
        ConfigError: the source is absent or of no use, or what is searched does not go with it;
            likewise the trainer.
        Elsewhere: the source, or a model to start from, can't be looked at here.
    """

    def __init__(
        self, study: Study, tracking_uri: str = "", allow_code: Collection[str] = ()
    ) -> None:
        self._study = study
        self.trainers: Trainers = (
            Own(study, allow_code) if study.trainer else Nets(study, tracking_uri)
        )
        self.sources = {name: zoo.digest(each) for name, each in self.trainers.sources.items()}
        self._splits = lru_cache(maxsize=KEPT)(self._split)
        try:
            self._dataset = load(study.data.source, allow_code, numbers=study.data.regression)
        except DataError as error:
            refusal = Elsewhere if isinstance(error, Unseen) else ConfigError
            raise refusal([Problem("data.source", str(error))]) from None
        if study.data.classes is not None:
            self._dataset = _chosen(self._dataset, study.data.classes)
        try:
            if study.trainer is None and self._bytes > share(study.resources):
                self._dataset = _stored(self._dataset)
            self.splits(study.first_config())
        except (DataError, TableError) as error:
            raise ConfigError([_told(error)]) from None
        if problems := self._misfits():
            raise ConfigError(problems)

    def _misfits(self) -> list[Problem]:
        """What the search space can reach that these data don't allow."""
        data = self.data(self._study.first_config())
        found: dict[str, Problem] = {}
        for plain in self._study.corners():
            preprocess = Technique(*named(plain["data"]["preprocess"]))
            image = pictured(self._dataset, preprocess, self._size)
            problems = self.trainers.problems(plain, replace(data, image=image))
            found |= {str(problem): problem for problem in problems}
        return [*found.values(), *self._flat()]

    def _flat(self) -> list[Problem]:
        """Whether PCA is asked for more directions than those in which training rows vary.

        Tried with the most that the search space can reach; what was fitted is kept.
        """
        asked = {}
        for plain in self._study.corners():
            name, given = named(plain["data"]["preprocess"])
            if name == "pca":
                asked[given["components"] or 0] = plain
        try:
            if asked:
                self.splits(asked[max(asked)])
        except (DataError, TableError) as error:
            return [_told(error)]
        return []

    @property
    def maker(self) -> Maker:
        """What makes the trainers of links."""
        return self.trainers.maker

    @property
    def _bytes(self) -> int:
        """What the rows take in memory: each fold has all of them, preprocessed by itself."""
        rows, features = map(int, self._dataset.x.shape)
        image, size = self._dataset.image, self._size
        if image is not None and size is not None:
            features = image.channels * size.height * size.width
        return 4 * rows * features * (self._study.data.folds or 1)

    @property
    def _size(self) -> Size | None:
        """What images are resized to."""
        asked = self._study.data.resize
        return None if asked is None else Size(asked.height, asked.width)

    def key(self, config: Mapping[str, Any]) -> str:
        """What distinguishes the data of this configuration from those of others."""
        return compact(config["data"]["preprocess"])

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; none in a regression."""
        return self._dataset.classes

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the numbers to predict; none in a classification."""
        return self._dataset.targets

    @cached_property
    def digest(self) -> str:
        """What two studies have in common that train, validate and test on the same rows."""
        source = self._study.data
        found = hashlib.blake2b(digest_size=16)
        tests = self._dataset.test or ()
        for array in (self._dataset.x, self._dataset.y, *tests):
            found.update(f"{array.dtype} {array.shape}".encode())
            for block in blocks(array):
                found.update(np.ascontiguousarray(block).data)
        split = (source.validation, source.test, source.folds, self._study.search.seed)
        found.update(repr(split).encode())
        return found.hexdigest()

    def data(self, config: Mapping[str, Any]) -> Data:
        """The training and validation rows for a configuration."""
        return self.splits(config).data

    def parameters(self, config: Mapping[str, Any]) -> int | None:
        """How many parameters a configuration has for these data, if that is known untrained."""
        return self.trainers.parameters(config, self.data(config))

    def splits(self, config: Mapping[str, Any]) -> Splits:
        """All rows for a configuration, and how they were preprocessed."""
        name, parameters = named(config["data"]["preprocess"])
        return self._splits(name, tuple(parameters.items()))

    def _split(self, name: str, parameters: tuple[tuple[str, Any], ...]) -> Splits:
        source = self._study.data
        made = split(
            self._dataset,
            validation=source.validation,
            test=source.test,
            folds=source.folds,
            preprocess=Technique(name, dict(parameters)),
            seed=self._study.search.seed,
            size=self._size,
        )
        return replace(made, data=replace(made.data, sources=self.trainers.sources))


def _told(error: DataError | TableError) -> Problem:
    """What keeps data from being split, at the field that it names or else at their source."""
    path, _, rule = str(error).partition(": ")
    if path.partition(".")[0] in PREPROCESSING:
        return Problem(f"data.preprocess.{path}", rule)
    if path.startswith("data."):
        return Problem(path, rule)
    return Problem("data.source", str(error))


def share(resources: Resources) -> int:
    """The bytes of a machine's memory that are one worker's, for its data.

    What the study sets aside; else its part, by cores, of what the object store has here.
    """
    if resources.memory is not None:
        return int(resources.memory * GIB)
    return int(STORE * _memory() * min(1.0, resources.cpu / (os.cpu_count() or 1)))


def _memory() -> int:
    """The bytes of memory that this machine has, or that its container may take of it."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # "max" says that there is no limit
        memory = min(memory, int(CONTAINER.read_text()))
    return memory


def _stored(dataset: Dataset) -> Dataset:
    """The data set with its rows on disk, where all workers of a machine map them."""
    x, test = dataset.x, dataset.test
    if test is not None:
        test = on_disk(np.asarray(test[0])), test[1]
    return replace(dataset, x=on_disk(np.asarray(x)), test=test)


def _chosen(dataset: Dataset, classes: Sequence[Any]) -> Dataset:
    try:
        return only(dataset, [str(each) for each in classes])
    except DataError as error:
        raise ConfigError([Problem("data.classes", str(error))]) from None
