"""The learning curve shows what was measured, and nothing of the picture drawn before it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from numpy.typing import NDArray

from sweep.recording.pictures import SPLITS, CurvePainter
from sweep.recording.records import Epochs, Record, TrialEnded, TrialStarted

E, R = 12, 3
Pixels = NDArray[np.float32]


def history(*, replicates: int = R, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    noise = np.random.default_rng(seed).normal(0, 0.02, (4, E, replicates))
    loss = 2 * np.exp(-np.arange(E) / 4)[:, None] + 0.3
    return {
        "train_loss": loss + noise[0],
        "train_accuracy": 1 - loss / 3 + noise[1],
        "val_loss": loss + 0.5 + noise[2],
        "val_accuracy": 0.8 - loss / 3 + noise[3],
    }


def trial(
    found: Mapping[str, NDArray[np.floating]], end: TrialEnded | None = None, cut: int = E
) -> list[Record]:
    links = [
        Epochs(1, first, {name: rows[part] for name, rows in found.items()}, 0)
        for first, part in ((1, slice(cut)), (cut + 1, slice(cut, None)))
        if len(found["val_loss"][part])
    ]
    ends = [end or TrialEnded(1, "complete", E, 0, value=0.9, values=[0.9] * R)]
    return [TrialStarted(1, "#1 elu", {}, "", 0), *links, *ends]


def draw(records: list[Record], path: Path, painter: CurvePainter | None = None) -> Pixels:
    (painter or CurvePainter()).draw(records, path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n")
    pixels: Pixels = imread(path)[..., :3]
    return pixels


def amount(pixels: Pixels, split: str) -> float:
    """The share of the plots, without the legend, that has the colour of a split."""
    plots = pixels[int(0.24 * len(pixels)) :]
    return float((np.abs(plots - to_rgb(SPLITS[split][1])).max(-1) < 0.02).mean())


def test_both_splits_are_drawn_in_both_plots(tmp_path: Path) -> None:
    pixels = draw(trial(history()), tmp_path / "a.png")
    assert pixels.shape == (360, 800, 3)
    for half in (pixels[:, :400], pixels[:, 400:]):
        assert amount(half, "train") > 0.002
        assert amount(half, "val") > 0.002


def test_a_split_without_values_is_not_drawn(tmp_path: Path) -> None:
    found = {name: rows for name, rows in history().items() if not name.startswith("train")}
    pixels = draw(trial(found), tmp_path / "a.png")
    assert amount(pixels, "val") > 0.002
    assert amount(pixels, "train") == 0


def test_links_are_joined(tmp_path: Path) -> None:
    whole = draw(trial(history()), tmp_path / "a.png")
    parts = draw(trial(history(), cut=5), tmp_path / "b.png")
    assert (whole == parts).all()


def test_nothing_is_left_of_the_picture_before(tmp_path: Path) -> None:
    diverged = {name: np.geomspace(1, 1e6, 4)[:, None] for name in history()}
    painter = CurvePainter()
    draw(trial(diverged, TrialEnded(1, "pruned", 4, 0, "diverged")), tmp_path / "a.png", painter)
    after = draw(trial(history()), tmp_path / "b.png", painter)
    fresh = draw(trial(history()), tmp_path / "c.png")
    assert (after == fresh).all()


def test_the_band_widens_with_the_spread(tmp_path: Path) -> None:
    narrow = history()
    wide = {name: rows + np.array([-0.3, 0.0, 0.3]) for name, rows in narrow.items()}
    shaded = [
        (draw(trial(found), tmp_path / "a.png")[90:] < 0.97).any(-1).mean()
        for found in (narrow, wide)
    ]
    assert shaded[1] > 1.3 * shaded[0]


@pytest.mark.parametrize("what", ["pruned", "early"])
def test_the_heading_tells_how_it_ended(tmp_path: Path, what: str) -> None:
    found = history()
    plain = draw(trial(found), tmp_path / "a.png")
    end = TrialEnded(1, "pruned", E, 0, "too slow", 0.9, [0.9] * R) if what == "pruned" else None
    if what == "early":
        for rows in found.values():
            rows[7:, 1] = np.nan
    other = draw(trial(found, end), tmp_path / "b.png")
    heading = slice(30, 60)
    assert (plain[heading] != other[heading]).any()


@pytest.mark.parametrize(
    "case", ["no epochs", "one epoch", "one replicate", "NaN", "infinity", "equal", "long name"]
)
def test_every_history_can_be_drawn(tmp_path: Path, case: str) -> None:
    found = history(replicates=1 if case == "one replicate" else R)
    records: list[Record] = trial(found)
    match case:
        case "no epochs":
            records = [records[0], TrialEnded(1, "stopped", 0, 0, "interrupted")]
        case "one epoch":
            records = trial({name: rows[:1] for name, rows in found.items()})
        case "NaN":
            records = trial({name: rows * np.nan for name, rows in found.items()})
        case "infinity":
            found["train_loss"][3:] = np.inf
        case "equal":
            records = trial({name: rows * 0 for name, rows in found.items()})
        case "long name":
            records[0] = TrialStarted(1, "$x_y^ü\n" * 300, {}, "", 0)
    draw(records, tmp_path / "a.png")
