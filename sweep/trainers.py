"""Who trains the trials of a study: nets of ours, or a class of the user's, behind one port."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sweep.scheduling.runner import Maker
from trainer.arrays import Array
from trainer.data import Data
from trainer.rules import Problem
from trainer.state import State


class Trainers(Protocol):
    """The trainers of one study; used on the driver alone. Configurations are plain values."""

    @property
    def maker(self) -> Maker:
        """What workers are sent."""

    @property
    def version(self) -> str | None:
        """What tells the code that trains from other versions of it; None if it is ours."""

    @property
    def sources(self) -> Mapping[str, Mapping[str, Array]]:
        """The weights (R, …) of models that trials may start from, by the model's name."""

    def problems(self, config: Mapping[str, Any], data: Data) -> list[Problem]:
        """What keeps a configuration from being trained on these data."""

    def parameters(self, config: Mapping[str, Any], data: Data) -> int | None:
        """How many parameters a configuration has; None where only training can tell."""

    def learnt(self, config: Mapping[str, Any], state: State) -> dict[str, Array]:
        """The part of a trained state that predicts."""

    def predict(
        self, config: Mapping[str, Any], learnt: Mapping[str, Array], rows: Sequence[Array]
    ) -> list[Array]:
        """Class probabilities, or in a regression numbers, (n, K) of each replicate.

        Args:
            config: the configuration.
            learnt: what predicts.
            rows: x (n, D), preprocessed: of all replicates, or of each.
        """
