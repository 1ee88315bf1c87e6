"""The benchmark of frozen layers compares two ways to the same net."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.frozen import Work, anew, once
from trainer.convolution import Image
from trainer.training import train

WORK = Work("small", {"hidden": [7, 6, 5]}, Image(1, 6, 6), 61, freeze=2, epochs=3, batch=8)
CNN = {"architecture": {"cnn": {"channels": [2, 3]}}, "hidden": [5], "batch_norm": "before"}


@pytest.mark.parametrize("model", [WORK.model, CNN], ids=["mlp", "cnn"])
def test_both_train_the_same_net(model: dict[str, Any]) -> None:
    work = replace(WORK, model=model, precision="float64")
    config, data = work.config(), work.data()
    begun = train(config, data, None, 0, seed=0, replicates=1).state
    ours, peer = once(config, data, begun), anew(config, data, begun)
    np.testing.assert_allclose(ours, peer, rtol=1e-8, atol=1e-12)
    assert (ours != begun["parameters"]).any()
    product = train(config, data, begun, 3, seed=0, replicates=1)
    np.testing.assert_array_equal(product.state["parameters"], ours)
