"""Running statistics of batch norm found anew, with dropout off: a remedy for variance shift.

What enters a batch norm varies more in training, where units drop below it, than in prediction. The
statistics of all training rows as prediction sees them take that away (Li et al. 2018, section 5).
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from trainer.arrays import Array, Memory
from trainer.network import Network
from trainer.prediction import at_once
from trainer.selection import Features
from trainer.tape import Tape, Variable


class Reestimation:
    """Finds the running statistics of R replicates anew, from the lowest batch norm upwards.

    Each is given the mean and the unbiased variance of what enters it, which depends on those below
    it: there is a pass over all rows for each, as far up as it stands.

    Args:
        net: the net.
        weights: its parameters and running statistics (R, …) by name, of which the latter are
            moved in place.
        x: the training rows (n, D) of each replicate, of the weights' type.
    """

    def __init__(self, net: Network, weights: Mapping[str, Array], x: Sequence[Features]) -> None:
        self._weights, self._x, self._size = weights, x, at_once(net)
        self._inputs, self._passes = {}, dict[tuple[str, int], tuple[Tape, Array]]()
        variables = {name: Variable(array, array) for name, array in weights.items()}
        memory, kept = Memory(), Memory()
        self._names = [
            name.removesuffix(".mean")
            for layer in net.layers
            for name in layer.statistics
            if name.endswith(".mean")
        ]
        dtype = next(iter(weights.values())).dtype
        for rows in sorted({stop - start for start, stop in self._blocks()}, reverse=True):
            given = kept.get(0, (len(x), rows, net.inputs), dtype)
            self._inputs[rows] = given
            for name in self._names:
                tape = Tape(memory, variables=variables, running=weights, training=False)
                entering = given
                for layer in net.layers:
                    if f"{name}.mean" in layer.statistics:
                        break
                    entering, _ = layer.write(tape, entering)
                self._passes[name, rows] = tape, entering

    def __call__(self) -> None:
        """Moves the running statistics."""
        for name in self._names:
            parts = [(each.shape[1], *_moments(each)) for each in self._entering(name)]
            count = sum(rows for rows, _, _ in parts)
            mean = sum(rows / count * part for rows, part, _ in parts)
            spread = sum(
                rows * (variance + np.square(part - mean)) for rows, part, variance in parts
            )
            self._weights[f"{name}.mean"][...] = mean
            self._weights[f"{name}.variance"][...] = spread / (count - 1)

    def _entering(self, name: str) -> Iterator[Array]:
        """What enters a batch norm (R, …, units), block by block."""
        for start, stop in self._blocks():
            tape, entering = self._passes[name, stop - start]
            for given, x in zip(self._inputs[stop - start], self._x, strict=True):
                np.copyto(given, np.asarray(x[start:stop]))
            tape.run()
            yield entering

    def _blocks(self) -> Iterator[tuple[int, int]]:
        rows = len(self._x[0])
        for start in range(0, rows, self._size):
            yield start, min(rows, start + self._size)


def _moments(x: Array) -> tuple[Array, Array]:
    """The mean and the biased variance (R, units) over the rows of x (R, N, units), in float64."""
    share = np.full((1, 1, x.shape[1]), 1 / x.shape[1], x.dtype)  # BLAS adds likewise for any R
    mean = np.matmul(share, x)
    variance = np.matmul(share, np.square(x - mean))
    return mean[:, 0].astype(np.float64), variance[:, 0].astype(np.float64)
