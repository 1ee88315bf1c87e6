"""Resizing against PyTorch, and as a part of preprocessing."""

import numpy as np
import pytest

from trainer.convolution import Image
from trainer.data import split
from trainer.dataset import DataError, Dataset
from trainer.preprocessing import transform
from trainer.resizing import Size, resized, resizing
from trainer.rules import Technique

IMAGE = Image(3, 9, 8)
SIZES = [Size(9, 8), Size(18, 16), Size(28, 11), Size(4, 3), Size(5, 20), Size(1, 1)]


def images(rows: int = 40) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.standard_normal((rows, int(np.prod(IMAGE)))).astype(np.float32)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_as_pytorch_interpolates(size: Size) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    x = images()
    expected = torch.nn.functional.interpolate(
        torch.tensor(x.reshape(-1, *IMAGE).astype(float)),
        tuple(size),
        mode="bilinear",
        antialias=True,
    )
    found = resized(resizing(IMAGE, size), x)
    np.testing.assert_allclose(found, expected.flatten(1).numpy(), rtol=0, atol=1e-6)


def test_the_same_size_changes_nothing() -> None:
    np.testing.assert_array_equal(resized(resizing(IMAGE, Size(9, 8)), images()), images())


@pytest.mark.parametrize("preprocess", ["none", "standardize", "pca"])
def test_rows_are_resized_and_then_preprocessed(preprocess: str) -> None:
    x, y, size = images(1100), np.arange(1100) % 2, Size(5, 4)
    technique = Technique(
        preprocess, {"components": 7, "epsilon": 0.0} if preprocess == "pca" else {}
    )
    common = {"validation": 0.2, "test": 0.05, "folds": 3, "preprocess": technique, "seed": 0}
    made = split(Dataset(x, y, ("a", "b"), None, IMAGE), size=size, **common)  # type: ignore[arg-type]
    small = resized(resizing(IMAGE, size), x)
    expected = split(Dataset(small, y, ("a", "b"), None, Image(3, 5, 4)), **common)  # type: ignore[arg-type]
    for ours, theirs in zip(made.data.folds, expected.data.folds, strict=True):
        np.testing.assert_array_equal(ours.x_train, theirs.x_train)
        np.testing.assert_array_equal(ours.x_val, theirs.x_val)
    assert made.data.image == expected.data.image
    assert made.raw_test[0].shape[1] == np.prod(IMAGE)  # a model takes the source's own features
    for fold in range(3):
        np.testing.assert_array_equal(made.test(fold)[0], expected.test(fold)[0])
        served = transform(made.preprocessing[fold], made.raw_test[0][:1])
        np.testing.assert_allclose(served, made.test(fold)[0][:1], rtol=1e-5, atol=1e-6)


def test_what_is_no_image_is_refused() -> None:
    data = Dataset(images(), np.arange(40) % 2, ("a", "b"))
    with pytest.raises(DataError, match=r"data\.resize: must be left out, the features are no ima"):
        split(
            data,
            validation=0.2,
            test=0.2,
            folds=None,
            preprocess=Technique("none"),
            seed=0,
            size=Size(2, 2),
        )
