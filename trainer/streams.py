"""Randomness: one generator for each (seed, replicate, purpose, epoch), the same in every trial."""

import enum

import numpy as np


class Purpose(enum.IntEnum):
    """What random numbers are drawn for."""

    SPLIT = 0
    INIT = 1
    ORDER = 2
    AUGMENTATION = 3
    DROPOUT = 4


def generator(
    *, seed: int, purpose: Purpose, replicate: int = 0, epoch: int = 0
) -> np.random.Generator:
    """The generator of one stream. Its numbers depend on the arguments alone."""
    key = np.random.SeedSequence([seed, replicate, purpose, epoch])
    return np.random.Generator(np.random.SFC64(key))
