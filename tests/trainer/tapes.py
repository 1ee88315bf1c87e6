"""A tape around one layer, for tests that look at a single part."""

import numpy as np

from trainer.arrays import Array, Memory
from trainer.layers import Layer
from trainer.network import Layout
from trainer.tape import Tape, Variable


class Bench:
    """One layer with its arrays, its input x (R, N, D) and its output y."""

    def __init__(
        self, layer: Layer, x: Array, *, training: bool, bits: Array | None = None
    ) -> None:
        generators = [np.random.default_rng(each) for each in range(len(x))]
        learned, statistics = Layout(layer.learned), Layout(layer.statistics)
        flat = learned.draw(generators, x.dtype)
        self.values = learned.views(flat)
        gradients = learned.views(np.zeros_like(flat))
        self.running = statistics.views(statistics.draw(generators, x.dtype))
        self.batch = statistics.views(statistics.draw(generators, x.dtype))
        nothing = np.zeros((len(x), 0), x.dtype)
        variables = {k: Variable(v, gradients[k]) for k, v in self.values.items()}
        self.tape = Tape(
            Memory(),
            variables=variables or {"": Variable(nothing, nothing)},
            running=self.running,
            batch=self.batch,
            bits=bits,
            training=training,
        )
        self.y, _ = layer.write(self.tape, x)
        self.tape.run()
