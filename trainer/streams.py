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
    PRETRAINING = 5
    SENSITIVITY = 6
    ROWS = 7


def generator(
    *, seed: int, purpose: Purpose, replicate: int = 0, epoch: int = 0
) -> np.random.Generator:
    """The generator of one stream. Its numbers depend on the arguments alone."""
    key = np.random.SeedSequence([seed, replicate, purpose, epoch])
    return np.random.Generator(np.random.SFC64(key))


def key(*, seed: int, purpose: Purpose, replicate: int = 0, epoch: int = 0) -> int:
    """64 bits for a generator on another device, likewise."""
    words = np.random.SeedSequence([seed, replicate, purpose, epoch]).generate_state(1, np.uint64)
    return int(words[0])
