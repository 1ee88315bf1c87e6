"""The weights of the best trials so far, in files of their own."""

from contextlib import suppress
from pathlib import Path

from sweep.spec.fields import Record
from trainer import checkpoint
from trainer.rules import Technique

LOOKED_AT = 5
"""Of how many of the best trials it is said what they confuse, if the weights of all are kept."""


def best_of(choice: Technique) -> int:
    """Of how many of the best trials something is recorded when the sweep has ended."""
    return int(choice["k"]) if choice.name == "best-k" else 0


def count(record: Record) -> int:
    """How many trials' weights are kept until then."""
    choices = (record.weights, record.models)
    everything = any(choice.name == "all" for choice in choices)
    return max(*map(best_of, choices), LOOKED_AT if everything else 0)


class Kept:
    """A folder with the weights of the `count` best trials; no more are kept than that.

    What it holds is found again from the files, so that it survives the driver.
    """

    def __init__(self, path: Path, count: int, *, maximize: bool) -> None:
        self._path, self._count = path, count
        self._sign = -1 if maximize else 1
        self._ranked: list[tuple[float, int]] = []
        for file in sorted(path.glob("*.npz")):
            with suppress(checkpoint.CheckpointError, KeyError):
                config = checkpoint.load(file).config
                self._ranked.append((self._sign * float(config["value"]), int(config["trial"])))
        self._ranked.sort()

    def wants(self, number: int, value: float) -> bool:
        """Whether a trial is among the best so far; of equals the first are the best."""
        if not self._count:
            return False
        others = [each for each in self._ranked if each[1] != number]
        return len(others) < self._count or (self._sign * value, number) < others[self._count - 1]

    def take(self, number: int, value: float, weights: Path) -> None:
        """Keeps a trial's weights in the place of the worst ones."""
        self._path.mkdir(exist_ok=True)
        self.file(number).unlink(missing_ok=True)
        self.file(number).hardlink_to(weights)
        others = [each for each in self._ranked if each[1] != number]
        self._ranked = sorted([*others, (self._sign * value, number)])
        for _, worst in self._ranked[self._count :]:
            self.file(worst).unlink(missing_ok=True)
        del self._ranked[self._count :]

    def numbers(self) -> list[int]:
        """The trials, best first."""
        return [number for _, number in self._ranked]

    def file(self, number: int) -> Path:
        """Where the weights of a trial are."""
        return self._path / f"{number:05}.npz"
