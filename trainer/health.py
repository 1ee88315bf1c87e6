"""Health: what gradients and activations tell of a training, epoch by epoch (TECHNIQUES §10).

It is a by-product: the gradients are those of the epoch's last step, the activations those of the
first block of validation rows, as prediction leaves them in memory. It draws nothing and moves
nothing, so a training has the same bits with it and without.
"""

import math
from collections.abc import Mapping

import numpy as np

from trainer.arrays import Array
from trainer.network import Layout, Network

ROWS = 128
"""Validation rows, or pixels of images, that means and variances are of, at most."""

UNSETTLED = 0.01
"""Weight that the running statistics may still give to their start of 0 and 1."""

SATURATED = {"sigmoid": (0.5, np.sqrt(0.24)), "tanh": (0.0, np.sqrt(0.99))}
"""By activation: its centre, and how far from it its derivative is less than 0.01.

With s the output, s(1 - s) of the sigmoid and 1 - s² of tanh.
"""

DEAD = ("relu",)
"""Activations with units that can be dead: 0 for every row, so that no gradient passes."""


class Health:
    """The figures of R replicates that train together; layers count from 1 at the input.

    - `health/gradient_norm_i`: ‖∂l/∂W‖ of layer i in the last step, as the optimiser got it;
    - `health/mean_i`, `health/variance_i`: of a hidden layer's activations, over the rows, the mean
      over its units;
    - `health/saturated_i`: the share of a hidden layer's activations in the flat parts of a sigmoid
      or tanh;
    - `health/dead_i`: the share of its units that are 0 for every row of the block;
    - `health/variance_ratio_i`: the variance of what enters its batch norm, in prediction over in
      training (the running variance): 1 unless dropout or few rows shift it (Li et al. 2018).
      NaN until the running variance has settled, see `settled`;
    - `health/variance_ratio_formula_i`: what that ratio should be where dropout comes right before
      the batch norm: v / (q·(c² + v) - c²), with c and v the mean and the variance of what enters
      in prediction, and q the mean square of dropout's factor, 1/keep, or 1 + β²/3 for Uout.

    Args:
        net: the net.
        activation: the name of its hidden layers' activation.
        noise: q, of dropout right before each batch norm; None where there is none.
        gradient: (R, P), all of it, laid out as `net.learned`.
        running: running statistics (R, D) by name.
        marks: what prediction leaves in memory, see `Tape.mark`.
    """

    def __init__(
        self,
        net: Network,
        activation: str,
        noise: float | None,
        gradient: Array,
        running: Mapping[str, Array],
        marks: Mapping[str, Array],
    ) -> None:
        self._activation, self._noise = activation, noise
        views = Layout(net.weights).views(gradient[:, : Layout(net.weights).size])
        self._gradients = {name.partition(".")[0]: _flat(view) for name, view in views.items()}
        self._active = {name: marks[f"{name}.active"] for name in _hidden(marks, "active")}
        self._entering = {name: marks[f"{name}.entering"] for name in _hidden(marks, "entering")}
        self._running = {name: running[f"{name}.variance"] for name in self._entering}
        arrays = [*self._active.values(), *self._entering.values()]
        if not arrays:
            return
        rows = min(ROWS, *(array.shape[1] for array in arrays))
        self._sources = [_spread(array, rows) for array in arrays]
        self._tops = [np.empty_like(array[:, 0]) for array in self._active.values()]
        widths = [array.shape[2] for array in arrays]
        ends = np.cumsum(widths)
        self._widths, self._starts = np.array(widths), ends - widths
        self._sample = np.empty((len(gradient), rows, int(ends[-1])), gradient.dtype)
        self._squares = np.empty_like(self._sample)
        self._share = np.full((1, 1, rows), 1 / rows, gradient.dtype)
        self._parts = [
            self._sample[:, :, start:end] for start, end in zip(self._starts, ends, strict=True)
        ]

    def look(self) -> None:
        """Keeps the activations, while they are in memory."""
        if not self._active:
            return
        for part, source in zip(self._parts, self._sources, strict=True):
            np.copyto(part, source)
        if self._activation in DEAD:
            parts = self._parts[: len(self._tops)]
            for top, part, array in zip(self._tops, parts, self._active.values(), strict=True):
                np.max(part, axis=1, out=top)
                if not top.all():  # the rows that were not looked at may wake those units
                    asleep = ~top.all(axis=0)
                    top[:, asleep] = array[:, :, asleep].max(axis=1)

    def figures(self, *, ratios: bool = True) -> dict[str, Array]:
        """The figures by name, (R,) each, of what `look` kept and of the last gradient.

        Args:
            ratios: whether the running variances have `settled`.
        """
        found = {}
        for name, gradient in self._gradients.items():
            squares = np.matmul(gradient.swapaxes(1, 2), gradient)
            found[_key("gradient_norm", name)] = np.sqrt(squares[:, 0, 0])
        if not self._active:
            return found
        np.multiply(self._sample, self._sample, out=self._squares)
        mean = np.matmul(self._share, self._sample)[:, 0]
        square = np.matmul(self._share, self._squares)[:, 0]
        variance = np.maximum(square - mean * mean, 0)
        means, variances = (
            np.add.reduceat(each, self._starts, axis=1) / self._widths for each in (mean, variance)
        )
        for at, name in enumerate(self._active):
            found[_key("mean", name)] = means[:, at]
            found[_key("variance", name)] = variances[:, at]
            if self._activation in DEAD:
                found[_key("dead", name)] = (self._tops[at] == 0).mean(axis=1)
            if self._activation in SATURATED:
                found[_key("saturated", name)] = self._saturated(self._parts[at])
        for at, (name, running) in enumerate(self._running.items(), len(self._active)):
            ratio = variances[:, at] / running.mean(axis=1)
            found[_key("variance_ratio", name)] = ratio if ratios else np.full_like(ratio, np.nan)
            if self._noise is not None:
                noisy = self._noise * square - mean * mean
                noisy = np.add.reduceat(noisy, self._starts, axis=1)[:, at] / self._widths[at]
                found[_key("variance_ratio_formula", name)] = variances[:, at] / noisy
        return found

    def _saturated(self, part: Array) -> Array:
        centre, reach = SATURATED[self._activation]
        away: Array = np.abs(part - part.dtype.type(centre)) > reach
        return np.asarray(away.mean(axis=(1, 2)))


def settled(momentum: float, steps: int) -> bool:
    """Whether running statistics tell of the batches seen: after 44 steps with a momentum of 0.1.

    Their start weighs (1 - momentum)^steps in them.
    """
    return bool((1 - momentum) ** steps < UNSETTLED)


def _hidden(marks: Mapping[str, Array], what: str) -> list[str]:
    return [name.partition(".")[0] for name in marks if name.endswith(f".{what}")]


def _key(figure: str, layer: str) -> str:
    return f"health/{figure}_{int(layer) + 1}"


def _spread(array: Array, rows: int) -> Array:
    """So many rows, at equal distances: of images the rows are pixels, and neighbours alike.

    The distance has no divisor in common with the number of rows, and so of pixels: they are from
    all places in an image.
    """
    count = array.shape[1]
    distance = next(step for step in range(count // rows, 0, -1) if math.gcd(step, count) == 1)
    return array[:, ::distance][:, :rows]


def _flat(view: Array) -> Array:
    """The numbers of each replicate in a column."""
    return view.reshape(len(view), -1, 1)
