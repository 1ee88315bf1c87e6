"""A class of the user's as the trainer of a study: `trainer: MODULE:CLASS`."""

import hashlib
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sweep.checked import OwnMaker
from sweep.spec.study import Study
from trainer.arrays import Array
from trainer.data import Data
from trainer.rules import ConfigError, Problem
from trainer.state import State
from trainer.user_code import failure, imported

METHODS = ("train", "predict_proba")
"""What `trainer.protocol.Trainer` asks for."""


class Own:
    """The trainers of one study, made by the user's class (see `sweep.trainers`).

    Args:
        study: the study, whose `trainer` names the class.
        allowed: the modules whose code may be imported and run.

    Raises:
        ConfigError: it may not be imported, fails, or is no such class.
    """

    sources: Mapping[str, Mapping[str, Array]] = {}

    def __init__(self, study: Study, allowed: Collection[str]) -> None:
        assert study.trainer is not None
        module = study.trainer.partition(":")[0]
        if module not in allowed:
            raise _mistake(f"is code to import: run with --allow-code {module}", study.trainer)
        try:
            found = imported(study.trainer)
        except (Exception, SystemExit) as error:
            raise _mistake(f"{study.trainer} {failure(error)}") from error
        if not isinstance(found, type):
            raise _mistake("must name a class", study.trainer)
        missing = [name for name in METHODS if not callable(getattr(found, name, None))]
        if missing:
            rule = f"must have the methods of trainer.protocol.Trainer; {missing[0]} is missing"
            raise _mistake(rule, study.trainer)
        self.version = _digest(module)
        travels = (module.partition(".")[0],)
        self.maker = OwnMaker(study.trainer, found, study.judges, self.version, travels)

    def problems(self, config: Mapping[str, Any], data: Data) -> list[Problem]:
        """Whether the class takes the arguments of a configuration."""
        try:
            self.maker.own(config)
        except (Exception, SystemExit) as error:
            return [Problem("model", f"{self.maker.name} {failure(error)}")]
        return []

    def parameters(self, config: Mapping[str, Any], data: Data) -> None:
        """Nothing is known of an untrained one."""

    def learnt(self, config: Mapping[str, Any], state: State) -> dict[str, Array]:
        """All of it."""
        return state

    def predict(
        self, config: Mapping[str, Any], learnt: Mapping[str, Array], rows: Sequence[Array]
    ) -> list[Array]:
        """Class probabilities (n, K) of each replicate.

        Raises:
            ConfigError: the user's code fails.
        """
        try:
            trainer = self.maker.own(config)
            found = [np.asarray(trainer.predict_proba(dict(learnt), np.asarray(x))) for x in rows]
        except (Exception, SystemExit) as error:
            raise _mistake(f"{self.maker.name}.predict_proba {failure(error)}") from error
        return list(found[0]) if len(rows) == 1 else [each[at] for at, each in enumerate(found)]


def _mistake(rule: str, *found: str) -> ConfigError:
    return ConfigError([Problem("trainer", rule, *found)])


def _digest(module: str) -> str:
    """What tells a version of a module from others: its own file, not what it imports."""
    file = sys.modules[module].__file__
    content = Path(file).read_bytes() if file else b""
    return hashlib.blake2b(content, digest_size=8).hexdigest()
