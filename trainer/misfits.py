"""Misfits: what of a configuration the data don't allow."""

import numpy as np

from trainer.config import Config
from trainer.data import Data
from trainer.losses import OF_NUMBERS
from trainer.network import images
from trainer.rules import Problem
from trainer.transfer import misfits as transfer_misfits


def misfits(config: Config, data: Data) -> list[Problem]:
    """What of a configuration these data don't allow."""
    found = []
    model, task = config.model, config.training.task
    if task is not data.task:
        wanted = "of classes" if data.classes else " or ".join(OF_NUMBERS)
        rule = f"must be {wanted} with data of {'classes' if data.classes else 'numbers'}"
        return [Problem("training.loss", rule, config.training.loss.name)]
    if model.batch_norm.name != "none" and min(len(f.y_train) for f in data.folds) == 1:
        found.append(Problem("model.batch_norm", "must be none with one training row"))
    if (per_class := config.training.per_class) is not None:
        rarest = min(np.bincount(f.y_train, minlength=data.classes).min() for f in data.folds)
        if per_class > rarest:
            rule = f"must be at most the {rarest} training rows of the rarest class"
            found.append(Problem("training.per_class", rule, per_class))
    if config.training.binary and data.classes != 2:
        rule = f"must be cross_entropy with {data.classes} classes"
        found.append(Problem("training.loss", rule, config.training.loss.name))
    if model.channels and data.image is None:
        rule = "must be mlp: the features are no image (their source has none, or PCA made them)"
        found.append(Problem("model.architecture", rule, "cnn"))
    if config.training.augment.pictorial and data.image is None:
        rule = "must change nothing but noise: the features are no image"
        found.append(Problem("training.augment", rule))
    if model.channels and data.image is not None:
        for shape in images(model, data.image):
            if not shape.pixels:
                rule = f"leaves nothing of an image of {data.image.height} × {data.image.width}"
                found.append(Problem("model.architecture.cnn", rule))
                break
    return found or list(transfer_misfits(config, data))
