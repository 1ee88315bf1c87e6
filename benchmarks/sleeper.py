"""A training that only sleeps, in the place of the trainer's; workers import this file."""

import time

import numpy as np

from sweep.scheduling.runner import Advanced, Link
from trainer.data import Data
from trainer.state import State

SECONDS = 1.0


def nap(link: Link, _data: Data, _state: State | None) -> tuple[Advanced, State]:
    """A link of one epoch that takes a second; its accuracy is drawn by its number."""
    time.sleep(SECONDS)
    accuracy = np.random.default_rng(abs(link.number)).random(1)
    figures = {"val_accuracy": accuracy, "epoch_seconds": np.full(1, SECONDS)}
    history = {name: values[None] for name, values in figures.items()}
    outcome = Advanced(link.number, link.until, history, figures, None, True, SECONDS)
    return outcome, {"epoch": np.array(link.until)}
