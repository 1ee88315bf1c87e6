"""The gradient check: one random direction against central differences, in float64."""

from typing import Any

import numpy as np

from tests.trainer.conftest import config
from trainer.arrays import Memory
from trainer.convolution import Image
from trainer.losses import LOSSES, OF_NUMBERS, targets
from trainer.network import Layout, network
from trainer.tape import Tape, Variable

ROWS, INPUTS, CLASSES, REPLICATES = 9, 6, 4, 2
STEP = 1e-6


class Problem:
    """The loss of a net with every part fixed, and its gradient by all parameters (R, P)."""

    def __init__(
        self,
        model: dict[str, Any],
        *,
        seed: int = 0,
        smoothing: float = 0.0,
        binary: bool = False,
        loss: str = "cross_entropy",
        image: Image | None = None,
    ) -> None:
        generator = np.random.default_rng(seed)
        classes = 2 if binary else CLASSES
        inputs = INPUTS if image is None else image.channels * image.pixels
        described = config(model).model
        net = network(described, inputs=inputs, classes=classes, binary=binary, image=image)
        layout, statistics = Layout(net.learned), Layout(net.statistics)
        # far enough from the starts (β = 0, equal slopes) that every term counts
        self.theta = layout.draw([np.random.default_rng(r) for r in range(REPLICATES)], float)
        self.theta += 0.3 * generator.standard_normal(self.theta.shape)
        self.gradient = np.zeros_like(self.theta)
        values, gradients = layout.views(self.theta), layout.views(self.gradient)
        running = np.zeros((REPLICATES, statistics.size))
        bits = generator.integers(0, 1 << 16, (REPLICATES, net.random(ROWS)), dtype=np.uint16)
        self.tape = Tape(
            Memory(),
            variables={name: Variable(values[name], gradients[name]) for name in values},
            running=statistics.views(running),
            batch=statistics.views(running),
            bits=bits,
            training=True,
        )
        x = generator.standard_normal((REPLICATES, ROWS, inputs))
        labels = generator.integers(0, classes, (REPLICATES, ROWS))
        scores, backward = net.write(self.tape, x)
        self._target = np.zeros(scores.shape)
        targets(labels, 1 / ROWS, self._target)
        self._shifted, self._sums = np.zeros(scores.shape), np.zeros((REPLICATES, 1, ROWS))
        self._kind = loss
        if loss in OF_NUMBERS:
            self._target[:] = generator.standard_normal(scores.shape)
            backward(LOSSES[loss](self.tape, scores, self._target, self._shifted))
        else:
            left = (self.tape, scores, self._target, self._shifted, self._sums)
            backward(LOSSES[loss](*left, smoothing=smoothing))
        self._smooth = (1 - smoothing) * self._target + smoothing / classes / ROWS

    def loss(self, theta: np.ndarray) -> float:
        """The mean loss, summed over replicates."""
        self.theta[:] = theta
        self.tape.run()
        if self._kind in OF_NUMBERS:
            return float(np.square(self._shifted).mean(axis=(1, 2)).sum())
        logs = np.log(self._sums / ROWS) - self._shifted
        if self._kind == "squared_error":
            return float(np.square(np.exp(-logs) - ROWS * self._smooth).sum() / ROWS)
        return float((logs * self._smooth).sum())


def error(problem: Problem, *, scale: float = 1.0, seed: int = 1) -> float:
    """How far scale·gradient is from central differences along a random direction, relatively."""
    start = problem.theta.copy()
    direction = np.random.default_rng(seed).standard_normal(start.shape)
    slope = problem.loss(start + STEP * direction) - problem.loss(start - STEP * direction)
    slope /= 2 * STEP
    problem.loss(start)
    return abs(scale * float((problem.gradient * direction).sum()) - slope) / abs(slope)
