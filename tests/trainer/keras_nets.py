"""Makes `keras_nets.npz`: trained Keras nets, rows, and what the nets make of them.

    KERAS_BACKEND=torch python tests/trainer/keras_nets.py

It was run with Keras 3.15; no test needs Keras.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (8, 6, 2)


def main() -> None:
    """Writes the file."""
    keras: Any = import_module("keras")
    layers = keras.layers
    nets = {
        "cnn": [
            *(layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization(epsilon=1e-5)),
            *(layers.Activation("tanh"), layers.MaxPooling2D()),
            *(layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(epsilon=1e-5)),
            *(layers.Activation("tanh"), layers.MaxPooling2D(), layers.Flatten()),
            *(layers.Dense(5), layers.BatchNormalization(epsilon=1e-5)),
            *(layers.Activation("tanh"), layers.Dense(3, activation="softmax")),
        ],
        "mlp": [
            *(layers.Flatten(), layers.Dense(6, activation="tanh")),
            *(layers.BatchNormalization(epsilon=1e-5), layers.Dropout(0.2)),
            *(layers.Dense(5, activation="tanh"), layers.BatchNormalization(epsilon=1e-5)),
            layers.Dense(3, activation="softmax"),
        ],
    }
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x = (0.5 + generator.standard_normal((90, *SHAPE))).astype(np.float32)
    y = x[..., 0].reshape(90, 3, -1).mean(axis=2).argmax(axis=1)
    kept = {"x": x[:20]}
    for name, stack in nets.items():
        net = keras.Sequential([keras.Input(SHAPE), *stack])
        net.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
        net.fit(x, y, epochs=5, verbose=0)
        kept[f"{name}.odds"] = np.asarray(net.predict(kept["x"], verbose=0))
        kept |= {f"{name}.{place}": array for place, array in enumerate(net.get_weights())}
    np.savez_compressed(Path(__file__).with_suffix(".npz"), allow_pickle=False, **kept)


if __name__ == "__main__":
    main()
