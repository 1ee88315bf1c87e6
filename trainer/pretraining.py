"""Pretraining: first weights of the hidden layers, found before the training; one entry each.

A replicate's pretraining depends on its own first weights, rows and random streams alone. Batch
norm and dropout have no part in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from trainer.block import Learn
from trainer.descent import COMMON
from trainer.layerwise import autoencoder, boltzmann_machine, layer_by_layer
from trainer.pairs import pairs
from trainer.rules import Integer, Real, Setting


@dataclass(frozen=True)
class Pretraining:
    """One way to pretrain.

    Attributes:
        learn: does it.
        parameters: what a study may set.
        activations: those that it is meant for; all if there are none.
    """

    learn: Learn
    parameters: Mapping[str, Setting]
    activations: tuple[str, ...] = ()


ADAM = {"learning_rate": Setting(1e-3, Real(0.0, open_low=True), "of Adam")}
STEP = {"learning_rate": Setting(0.05, Real(0.0, open_low=True), "step size")}
TOP = {"units": Setting(10, Integer(1, 1_000_000), "of the hidden layer on top of both rows")}

PRETRAINING: dict[str, Pretraining] = {
    "autoencoder": Pretraining(layer_by_layer(autoencoder), COMMON | ADAM),
    "rbm": Pretraining(layer_by_layer(boltzmann_machine), COMMON | STEP, ("sigmoid",)),
    "pairs": Pretraining(pairs, COMMON | TOP | ADAM),
}
