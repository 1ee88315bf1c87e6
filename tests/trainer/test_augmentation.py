"""Each change against a plain restatement; what training with them leaves as it was."""

from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import config, fold
from trainer.arrays import Array
from trainer.augmentation import DRAWN, Augment, Augmentation
from trainer.convolution import Image
from trainer.data import Data, Fold
from trainer.reading import check
from trainer.rules import ConfigError
from trainer.training import train

IMAGE = Image(2, 6, 6)
N = 5


class Drawn:
    """A generator of numbers that are known."""

    def __init__(self, **numbers: Any) -> None:
        names = ("down", "right", "flip", "angle", "size", "contrast", "cut_y", "cut_x")
        self.table = np.full((N, DRAWN), 0.5)
        for name, values in numbers.items():
            self.table[:, names.index(name)] = values

    def random(self, shape: tuple[int, int]) -> Array:
        assert shape == self.table.shape
        return self.table


def changed(drawn: Any, x: Array | None = None, **augment: Any) -> tuple[Array, Array]:
    """The images before and after, (N, C, H, W)."""
    given = images() if x is None else x
    rows = given.reshape(N, -1).copy()
    Augmentation(check(Augment, augment), IMAGE)(rows, drawn)
    return given, rows.reshape(given.shape)


def images() -> Array:
    return np.random.default_rng(0).standard_normal((N, *IMAGE)).astype(np.float32)


def test_shift_moves_by_whole_pixels_and_fills_with_nothing() -> None:
    down, right = np.array([-2, -1, 0, 1, 2]), np.array([2, 0, -2, 1, -1])
    drawn = Drawn(down=(down + 2.5) / 5, right=(right + 2.5) / 5)
    before, after = changed(drawn, shift=2)
    for each in range(N):
        padded = np.pad(before[each], ((0, 0), (2, 2), (2, 2)))
        top, left = 2 - down[each], 2 - right[each]
        np.testing.assert_array_equal(after[each], padded[:, top : top + 6, left : left + 6])


def test_shifts_are_uniform() -> None:
    rows = np.zeros((3000, 1, 9, 9), np.float32)
    rows[:, :, 4, 4] = 1
    flat = rows.reshape(3000, -1)
    Augmentation(check(Augment, {"shift": 1}), Image(1, 9, 9))(flat, np.random.default_rng(0))
    shares = flat.reshape(rows.shape).mean(axis=(0, 1))
    np.testing.assert_allclose(shares[3:6, 3:6], 1 / 9, atol=0.02)
    assert shares[3:6, 3:6].sum() == pytest.approx(1)


def test_every_second_image_is_flipped() -> None:
    before, after = changed(Drawn(flip=[0.1, 0.9, 0.49, 0.51, 0.0]), flip=True)
    for each, flipped in enumerate([True, False, True, False, True]):
        np.testing.assert_array_equal(
            after[each], before[each][:, :, ::-1] if flipped else before[each]
        )


def test_quarter_turns() -> None:
    before, after = changed(Drawn(angle=[0.0, 0.25, 0.5, 0.75, 1.0]), rotate=180)
    for each in range(N):
        turned = np.rot90(before[each], 2 - each, axes=(1, 2))
        np.testing.assert_allclose(after[each], turned, atol=1e-5)


def test_between_pixels_is_the_weighted_mean() -> None:
    """A plane stays a plane: bilinear weights are exact on it."""
    y, x = np.mgrid[:6, :6] - 2.5
    plane = np.broadcast_to(2 * y + 3 * x, (N, *IMAGE)).astype(np.float32)
    _, after = changed(Drawn(size=0.9, angle=0.6), plane, scale=0.5, rotate=30)
    size, angle = 1 + 0.5 * 0.8, np.radians(30 * 0.2)
    back_y = (np.cos(angle) * y - np.sin(angle) * x) / size
    back_x = (np.sin(angle) * y + np.cos(angle) * x) / size
    expected = 2 * back_y + 3 * back_x
    np.testing.assert_allclose(after[0, 0], expected, atol=1e-5)
    _, smaller = changed(Drawn(size=0.0), plane, scale=0.5)
    assert (smaller[0, 0, 0] == 0).all()
    assert (smaller[0, 0, 2:4, 2:4] != 0).all()


def test_contrast_keeps_the_mean() -> None:
    before, after = changed(Drawn(contrast=1.0), contrast=0.4)
    np.testing.assert_allclose(
        after.mean(axis=(1, 2, 3)), before.mean(axis=(1, 2, 3)), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        after.std(axis=(1, 2, 3)), 1.4 * before.std(axis=(1, 2, 3)), rtol=1e-5
    )


def test_cutout_takes_a_square_out_of_all_channels() -> None:
    before, after = changed(Drawn(cut_y=[0.5, 0.0, 0.99, 0.5, 0.5]), cutout=3)
    gone = after == 0
    for each, lines in enumerate([(2, 5), (0, 2), (4, 6), (2, 5), (2, 5)]):
        expected = np.zeros((6, 6), bool)
        expected[slice(*lines), 2:5] = True
        assert (gone[each] == expected).all()
    assert (after[~gone] == before[~gone]).all()


def test_noise_has_its_size_and_needs_no_image() -> None:
    rows = np.zeros((200, 50), np.float32)
    Augmentation(check(Augment, {"noise": 0.3}), None)(rows, np.random.default_rng(0))
    assert rows.std() == pytest.approx(0.3, rel=0.03)
    assert rows.dtype == np.float32


EVERYTHING = {
    "shift": 1,
    "flip": True,
    "rotate": 10,
    "scale": 0.1,
    "contrast": 0.2,
    "cutout": 2,
    "noise": 0.1,
}


def data() -> Data:
    return Data((fold(61, features=IMAGE.channels * IMAGE.pixels),), 3, IMAGE)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_training_leaves_the_data_alone_and_replicates_apart(precision: str) -> None:
    cfg = config(augment=EVERYTHING, precision=precision, epochs=4)
    given, untouched = data(), data()
    together = train(cfg, given, None, 4, seed=3, replicates=3)
    for name in Fold.__dataclass_fields__:
        before, after = (getattr(each.folds[0], name) for each in (untouched, given))
        np.testing.assert_array_equal(after, before)
    for replicate in range(3):
        alone = train(cfg, given, None, 4, seed=3, replicates=1, first=replicate)
        np.testing.assert_array_equal(
            alone.state["parameters"][0], together.state["parameters"][replicate]
        )
    half = train(cfg, given, None, 2, seed=3, replicates=3)
    linked = train(cfg, given, half.state, 4, seed=3, replicates=3)
    np.testing.assert_array_equal(linked.state["parameters"], together.state["parameters"])
    plain = train(config(precision=precision, epochs=4), given, None, 4, seed=3, replicates=3)
    assert (plain.state["parameters"] != together.state["parameters"]).any()


def test_what_needs_an_image() -> None:
    flat = Data(data().folds, 3)
    train(config(augment={"noise": 0.1}), flat, None, 1, seed=0, replicates=1)
    with pytest.raises(ConfigError, match=r"training.augment: must change nothing but noise"):
        train(config(augment={"shift": 1}), flat, None, 1, seed=0, replicates=1)
