"""A net of ours as a trainer: what `protocol.Trainer` asks for."""

import math
from dataclasses import dataclass

from trainer.arrays import Array
from trainer.config import Config
from trainer.data import Data
from trainer.device import Device
from trainer.prediction import predict
from trainer.protocol import Progress
from trainer.state import State, weights
from trainer.training import train


@dataclass(frozen=True)
class Net:
    """Trains a configuration of ours; all else is as in `training.train`."""

    config: Config
    device: Device | None = None
    seconds: float = math.inf
    timed: bool = False
    judged: bool = False

    def train(
        self, data: Data, state: State | None, until: int, *, seed: int, replicates: range
    ) -> Progress:
        """As `training.train`."""
        return train(
            self.config,
            data,
            state,
            until,
            seed=seed,
            replicates=len(replicates),
            first=replicates.start,
            device=self.device,
            seconds=self.seconds,
            timed=self.timed,
            judged=self.judged,
        )

    def predict_proba(self, state: State, x: Array) -> Array:
        """As `prediction.predict`: of a net that predicts numbers, they."""
        return predict(self.config, weights(self.config, state), x)
