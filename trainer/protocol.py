"""What trains: the protocol that our nets keep, and that a trainer of the user's must keep."""

from dataclasses import dataclass
from typing import Protocol

from trainer.arrays import Array
from trainer.data import Data
from trainer.state import State


@dataclass(frozen=True)
class Progress:
    """Where a trial stands.

    Attributes:
        state: what to go on from: plain arrays of numbers, booleans or strings by name.
        epoch: epochs completed.
        history: (E, R) for each of the E epochs of this call; NaN for replicates that have stopped.
            Our nets give the four metrics, `learning_rate` (of the epoch's last step),
            `epoch_seconds`, the `validation_seconds` among them and, but on a GPU, the figures of
            `health.Health`.
        metrics: (R,) each: the trial's values if it ended here. Under early stopping those of each
            replicate's best epoch. Our nets give the four metrics, `parameters`, `epoch_seconds`,
            `predict_seconds` (the time to predict the validation rows once; with frozen layers,
            from what those make of them) and `folded_predict_seconds` (with batch norm folded;
            the same unless `training.train` is asked to time both).
        diverged: the epoch at which a replicate's loss became NaN or infinite.
        finished: whether there is nothing left to train.
        hopeless: of our nets, whether they returned before `until` because no training can help;
            of what, `diagnosis.hopeless` tells by the history.
    """

    state: State
    epoch: int
    history: dict[str, Array]
    metrics: dict[str, Array]
    diverged: int | None = None
    finished: bool = False
    hopeless: bool = False


class Trainer(Protocol):
    """Trains one configuration, and predicts with what was learnt.

    Whatever it returns is a function of its configuration and of the arguments alone: it draws from
    generators that it makes from `seed`, the replicate's number and what else it likes, and keeps
    nothing between calls, which may be made in different processes, or twice.
    """

    def train(
        self, data: Data, state: State | None, until: int, *, seed: int, replicates: range
    ) -> Progress:
        """Trains all replicates until so many epochs are completed, or all have stopped early.

        It may return sooner, after any epoch: it is then called again with its state.

        Args:
            data: `data.fold(place)` are the rows of the replicate at that place, from 0, of
                `replicates`: x_train and x_val (N, D) float32, y_train and y_val (N,) int64 that
                count 0 … data.classes - 1. Never written to.
            state: where to go on from, as an earlier call returned it; None starts anew.
            until: epochs completed at the end.
            seed: the study's seed, the same for all trials.
            replicates: the numbers of the R replicates.
        """

    def predict_proba(self, state: State, x: Array) -> Array:
        """Class probabilities (R, n, K) for the rows of x (n, D), preprocessed as those of data."""
