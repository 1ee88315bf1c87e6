"""The work that all contenders do: nets, data, batches."""

from dataclasses import dataclass, replace

import numpy as np

from trainer import reading
from trainer.arrays import Array
from trainer.config import Config
from trainer.data import Data, Fold

ACTIVATIONS: tuple[str, ...] = ("sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout")
ACTIVATIONS += ("selu", "gelu", "silu", "softplus", "softsign", "identity")


@dataclass(frozen=True)
class Work:
    """A net, its data, and how much of them is timed at a time.

    Attributes:
        widths: inputs, hidden units, classes.
        batch: rows in a mini-batch.
        rows: training rows.
        held: validation rows.
        epochs: epochs timed at a time.
        regular: with batch norm before the activation and dropout at 0.3.
        activation: of the hidden layers.
        replicates: nets trained at once (ours alone can have more than one).
    """

    widths: tuple[int, ...]
    batch: int
    rows: int
    held: int
    epochs: int
    regular: bool = False
    activation: str = "relu"
    replicates: int = 1

    @property
    def name(self) -> str:
        """Like `64-64-10 plain`."""
        return f"{'-'.join(map(str, self.widths))} {'BN, dropout' if self.regular else 'plain'}"

    def steps(self, part: str) -> int:
        """How many steps a part takes: `step` all epochs, `trial` two links of half of them."""
        epochs = 2 * self.half if part == "trial" else self.epochs
        return epochs * -(-self.rows // self.batch)

    @property
    def half(self) -> int:
        """The epochs of a link."""
        return -(-self.epochs // 2)

    def config(self) -> Config:
        """For our trainer."""
        maxout = {"maxout": {"pieces": 2}}
        model = {
            "hidden": list(self.widths[1:-1]),
            "activation": maxout if self.activation == "maxout" else self.activation,
            "batch_norm": "before" if self.regular else "none",
            "dropout": 0.3 if self.regular else 0.0,
        }
        training = {"batch_size": self.batch, "epochs": 10_000}
        return reading.check(Config, {"model": model, "training": training})

    def data(self) -> Data:
        """Rows of noise: the time does not depend on what is in them."""
        generator = np.random.default_rng(0)

        def part(rows: int) -> tuple[Array, Array]:
            x = generator.standard_normal((rows, self.widths[0]), dtype=np.float32)
            return x, generator.integers(0, self.widths[-1], rows)

        return Data((Fold(*part(self.rows), *part(self.held)),), self.widths[-1])

    def regularised(self) -> "Work":
        """The same with batch norm and dropout."""
        return replace(self, regular=True)


SIZES = (  # rows as in the digits after the splits; of the larger sets a part
    Work((64, 64, 10), 64, 1150, 287, 60),
    Work((64, 128, 64, 10), 64, 1150, 287, 60),
    Work((784, 256, 128, 10), 128, 12_800, 2_560, 1),
    Work((3072, 2000, 800, 10), 256, 2_560, 512, 1),
)
