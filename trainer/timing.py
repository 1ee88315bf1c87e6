"""How long a net takes to predict rows: as it was trained, and with its batch norm folded."""

import time
from collections.abc import Mapping

from trainer.arrays import Array
from trainer.config import Config
from trainer.convolution import Image
from trainer.device import Device
from trainer.folding import fold
from trainer.network import Network, above
from trainer.prediction import Evaluation
from trainer.selection import Stack

PASSES = 3
"""How often a prediction is timed; the quickest counts, since whatever else runs only delays."""


def quickest(evaluation: Evaluation) -> float:
    """Seconds of a prediction of all rows, for all replicates together."""
    passes = []
    for _ in range(PASSES):
        began = time.perf_counter()
        evaluation.predict()
        passes.append(time.perf_counter() - began)
    return min(passes)


def folded(
    config: Config,
    net: Network,
    weights: Mapping[str, Array],
    x: Array | Stack,
    y: Array,
    image: Image | None,
    device: Device | None,
) -> Evaluation | None:
    """What predicts the same without batch norm; None where there is none that could be folded.

    Frozen layers are not part of what is trained, so the net on top of them stays as it is.

    Args:
        config: the net and its training.
        net: the net.
        weights: its parameters and running statistics (R, …) by name, where x is.
        x: inputs (R or 1, n, D), of the weights' type, or on disk.
        y: labels (R or 1, n), or numbers (R or 1, n, K).
        image: the shape of the features, if they are those of an image.
        device: where x and y are, if not in the host's memory.
    """
    if config.model.batch_norm.name == "none" or config.model.frozen:
        return None
    if device is not None:
        weights = {name: device.host(array) for name, array in weights.items()}
    plain, arrays = fold(config, weights)
    if plain.model.batch_norm.name != "none":
        return None
    if device is not None:
        arrays = {name: device.asarray(array) for name, array in arrays.items()}
    other = above(
        plain.model,
        inputs=net.inputs,
        classes=net.classes,
        binary=config.training.binary,
        image=image,
    )
    return Evaluation(other, arrays, x, y, device, config.training.task)
