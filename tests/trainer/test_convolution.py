"""Convolutions: gradients, bits, memory, prediction, and what can't be trained."""

import functools
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.conftest import config, fold
from tests.trainer.gradients import Problem, error
from tests.trainer.test_folding import drawn
from tests.trainer.test_replicates import assert_same
from trainer import convolution, prediction
from trainer.convolution import Image
from trainer.data import Data, split
from trainer.dataset import Content, labelled
from trainer.folding import fold as folded
from trainer.initialisers import INITIALISERS
from trainer.network import Layout, network
from trainer.prediction import predict
from trainer.rules import ConfigError, Technique
from trainer.state import weights
from trainer.training import train

IMAGE = Image(2, 6, 5)
FEATURES = IMAGE.channels * IMAGE.pixels


def cnn(model: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
    return {"architecture": {"cnn": {"channels": [3, 4]} | given}, "hidden": [5]} | (model or {})


def made(rows: int = 61) -> Data:
    return Data((fold(rows, features=FEATURES),), 3, IMAGE)


@pytest.mark.parametrize("block", [convolution.BLOCK, 2000])
@pytest.mark.parametrize("dropout", [0.0, {"rate": 0.4, "kind": "spatial"}, {"rate": 0.3}], ids=str)
@pytest.mark.parametrize("place", ["none", "before", "after"])
@pytest.mark.parametrize(
    "given",
    [
        {"pool": "max"},
        {"pool": "average", "pool_size": 3, "channels": [4]},
        {"pool": "none", "padding": "valid", "kernel": 2, "stride": 2, "channels": [4]},
    ],
    ids=str,
)
@pytest.mark.parametrize("activation", ["prelu", {"maxout": {"pieces": 2}}], ids=str)
def test_gradient(
    activation: Any,
    given: dict[str, Any],
    place: str,
    dropout: Any,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(convolution, "BLOCK", block)
    model = cnn({"activation": activation, "batch_norm": place, "dropout": dropout}, **given)
    problem = Problem(model, image=IMAGE)
    assert error(problem) < 1e-6
    assert error(problem, scale=1.001) > 9e-4


@settings(deadline=None, max_examples=40)
@given(
    channels=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["same", "valid"]),
    rows=st.integers(1, 4),
)
def test_a_convolution_is_the_sum_over_its_patches(
    channels: int, height: int, width: int, kernel: int, stride: int, padding: str, rows: int
) -> None:
    image = Image(channels, height, width)
    given = {"kernel": kernel, "stride": stride, "padding": padding, "pool": "none"}
    model = {"architecture": {"cnn": {"channels": [2]} | given}, "hidden": [], "activation": "tanh"}
    cfg = config(model, precision="float64")
    pad = (kernel - 1) // 2 if padding == "same" else 0
    if min(height, width) + 2 * pad < kernel:
        return
    net = network(cfg.model, inputs=channels * image.pixels, classes=3, image=image)
    layout = Layout(net.learned)
    arrays = layout.views(layout.draw([np.random.default_rng(0)], np.dtype(float)))
    x = np.random.default_rng(1).standard_normal((rows, channels, height, width))
    shape = {"image": np.array([image])}
    odds = predict(cfg, arrays | shape, x.reshape(rows, -1))[0]

    field = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    weight = arrays["0.weight"][0].reshape(kernel, kernel, channels, 2)
    high, wide = ((n + 2 * pad - kernel) // stride + 1 for n in (height, width))
    z = np.zeros((rows, high, wide, 2))
    for at in np.ndindex(high, wide):
        top, left = stride * at[0], stride * at[1]
        patch = field[:, :, top : top + kernel, left : left + kernel]
        z[:, *at] = np.einsum("ncyx,yxcf->nf", patch, weight)
    scores = np.tanh(z).reshape(rows, -1) @ arrays["1.weight"][0]
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(odds, expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["spatial", "inverted"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_replicate_is_the_same_seed_alone_and_links_change_nothing(
    kind: str, precision: str
) -> None:
    model = cnn({"batch_norm": "before", "dropout": {"rate": 0.3, "kind": kind}})
    cfg = config(model, precision=precision, epochs=4)
    whole = train(cfg, made(), None, 4, seed=5, replicates=3)
    for replicate in range(3):
        alone = train(cfg, made(), None, 4, seed=5, replicates=1, first=replicate)
        for name in ("parameters", "running"):
            np.testing.assert_array_equal(alone.state[name][0], whole.state[name][replicate])
    half = train(cfg, made(), None, 2, seed=5, replicates=3)
    assert_same(train(cfg, made(), half.state, 4, seed=5, replicates=3).state, whole.state)


def test_all_replicates_predict_together_what_each_does_alone() -> None:
    cfg = config(cnn({"batch_norm": "before"}), epochs=1)
    found = weights(cfg, train(cfg, made(), None, 1, seed=5, replicates=3).state)
    assert found["image"].tolist() == [[2, 6, 5]] * 3
    x = made().folds[0].x_val
    together = predict(cfg, found, x)
    for replicate in range(3):
        mine = {name: array[replicate : replicate + 1] for name, array in found.items()}
        np.testing.assert_array_equal(predict(cfg, mine, x)[0], together[replicate])


def test_large_images_are_predicted_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config(cnn(), epochs=1)
    found = weights(cfg, train(cfg, made(), None, 1, seed=5, replicates=2).state)
    x = made().folds[0].x_val
    at_once = predict(cfg, found, x)
    monkeypatch.setattr(prediction, "NUMBERS", 3 * IMAGE.pixels * 5)
    np.testing.assert_allclose(predict(cfg, found, x), at_once, rtol=1e-5)


@pytest.mark.parametrize("place", ["none", "before", "after"])
@pytest.mark.parametrize("dropout", [0.0, {"rate": 0.4, "kind": "vanilla", "input": 0.2}], ids=str)
def test_a_folded_net_predicts_the_same(place: str, dropout: Any) -> None:
    cfg = config(cnn({"batch_norm": place, "dropout": dropout}), precision="float64")
    kept = drawn(cfg, image=IMAGE) | {"image": np.array([IMAGE, IMAGE])}
    x = np.random.default_rng(5).normal(0, 2, (9, FEATURES))
    plain, fewer = folded(cfg, kept)
    np.testing.assert_allclose(predict(plain, fewer, x), predict(cfg, kept, x), rtol=1e-9)
    assert any("gamma" in name for name in fewer) == (place == "after")


def test_spatial_dropout_drops_whole_channels() -> None:
    problem = Problem(
        {"architecture": {"cnn": {"channels": [64], "pool": "none"}}, "hidden": []}
        | {"dropout": {"rate": 0.25, "kind": "spatial"}, "activation": "sigmoid"},
        image=IMAGE,
    )
    problem.tape.run()
    operations = [each for each in problem.tape.operations if isinstance(each, functools.partial)]
    outputs = [each.keywords.get("out") for each in operations]
    dropped = [each for each in outputs if each is not None and each.ndim == 4]
    active = next(each for each in dropped if each.shape[2:] == (IMAGE.pixels, 64))
    gone = (active == 0).all(axis=2)
    assert ((active == 0).any(axis=2) == gone).all()
    assert gone.mean() == pytest.approx(0.25, abs=0.05)


def test_weights_have_the_variance_of_their_scheme() -> None:
    image = Image(8, 9, 9)
    model = {"architecture": {"cnn": {"channels": [400], "kernel": 5}}, "hidden": []}
    inputs, outputs = 25 * 8, 25 * 400
    for init, variance in {
        "lecun_normal": 1 / inputs,
        "he_uniform": 2 / inputs,
        "xavier_normal": 2 / (inputs + outputs),
    }.items():
        assert init in INITIALISERS
        net = network(config(model | {"init": init}).model, inputs=648, classes=3, image=image)
        drawn_once = net.learned["0.weight"].draw(np.random.default_rng(0))
        assert drawn_once.shape == (inputs, 400)
        assert drawn_once.var() == pytest.approx(variance, rel=0.02)


def test_patches_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """All patches of these batches would be 64 MB; training takes a fraction of it."""
    monkeypatch.setattr(convolution, "BLOCK", 1 << 20)
    image = Image(16, 16, 16)
    whole = fold(256, features=image.channels * image.pixels)
    model = {"architecture": {"cnn": {"channels": [4], "kernel": 5}}, "hidden": []}
    cfg = config(model, batch_size=256, epochs=1)
    patches = 256 * image.pixels * 25 * 16 * 4
    tracemalloc.start()
    train(cfg, Data((whole,), 3, image), None, 1, seed=0, replicates=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < patches / 2


def test_a_source_knows_its_images() -> None:
    def of(*shape: int) -> tuple[Image | None, tuple[int, ...]]:
        x = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
        dataset = labelled(Content("here", x, np.arange(shape[0]) % 2))
        return dataset.image, dataset.x.shape

    assert of(4, 6) == (None, (4, 6))
    assert of(4, 6, 5) == (Image(1, 6, 5), (4, 30))
    assert of(4, 3, 6, 5) == (Image(3, 6, 5), (4, 90))
    assert of(4, 6, 5, 3) == (Image(3, 6, 5), (4, 90))
    last = np.random.default_rng(0).random((4, 6, 5, 3)).astype(np.float32)
    y = np.arange(4) % 2
    first = labelled(Content("here", np.moveaxis(last, 3, 1), y))
    np.testing.assert_array_equal(labelled(Content("here", last, y)).x, first.x)


@pytest.mark.parametrize(("preprocess", "kept"), [("pca", False), ("zca", True), ("none", True)])
def test_principal_components_are_no_image(preprocess: str, kept: bool) -> None:
    x = np.random.default_rng(0).random((90, 4, 3))
    parameters = {"components": None, "epsilon": 1e-5, "whiten": False}
    splits = split(
        labelled(Content("here", x, np.arange(90) % 3)),
        validation=0.2,
        test=0.2,
        folds=None,
        preprocess=Technique(preprocess, parameters),
        seed=0,
    )
    assert (splits.data.image == Image(1, 4, 3)) == kept


@pytest.mark.parametrize(
    ("given", "image", "complaint"),
    [
        ({}, None, "model.architecture: must be mlp: the features are no image"),
        ({"kernel": 7, "padding": "valid"}, IMAGE, "leaves nothing of an image of 6 × 5"),
        ({"pool_size": 4}, IMAGE, "leaves nothing of an image of 6 × 5"),
        ({"kernel": 4}, IMAGE, "model.architecture.cnn.kernel: must be odd with padding same"),
    ],
    ids=str,
)
def test_what_can_not_be_trained(given: dict[str, Any], image: Image, complaint: str) -> None:
    data = Data((fold(features=FEATURES),), 3, image)
    with pytest.raises(ConfigError, match=complaint):
        train(config(cnn(**given)), data, None, 1, seed=0, replicates=1)
