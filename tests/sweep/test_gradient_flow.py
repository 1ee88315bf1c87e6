"""The picture of gradient flow shows every layer, and nothing of the picture before."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

from sweep.recording.gradient_flow import FlowPainter, by_layer
from sweep.recording.records import Epochs, Record, TrialStarted

E, R = 6, 3


def history(layers: int, *, least: float = 1e-4) -> dict[str, NDArray[np.float64]]:
    found = {"epoch_seconds": np.ones((E, R))}
    for layer, norm in enumerate(np.geomspace(least, 1, layers), 1):
        found[f"health/gradient_norm_{layer}"] = np.full((E, R), norm)
        found[f"health/mean_{layer}"] = np.full((E, R), 0.1 * layer)
        found[f"health/variance_{layer}"] = np.full((E, R), norm)
    return found


def trial(found: Mapping[str, NDArray[np.floating]], cut: int = E) -> list[Record]:
    links = [
        Epochs(1, first, {name: rows[part] for name, rows in found.items()}, 0)
        for first, part in ((1, slice(cut)), (cut + 1, slice(cut, None)))
        if len(found["epoch_seconds"][part])
    ]
    return [TrialStarted(1, "#1 elu", {}, "", 0), *links]


def test_figures_of_links_are_joined_by_layer_in_their_order() -> None:
    found = history(11)
    found["health/variance_2"][:] = np.arange(E)[:, None]
    found["health/variance_2"][0, 0] = np.nan  # a replicate that has stopped
    links = [each for each in trial(found, cut=2) if isinstance(each, Epochs)]
    del links[1].history["health/variance_11"]  # type: ignore[attr-defined]
    series = by_layer(links, "variance")
    assert list(series) == list(range(1, 12))
    assert series[2].tolist() == list(range(E))
    assert np.isnan(series[11]).tolist() == [False] * 2 + [True] * 4


@pytest.mark.parametrize("layers", [1, 3, 12])
def test_each_layer_has_a_line(tmp_path: Path, layers: int) -> None:
    painter = FlowPainter()
    assert painter.draw(trial(history(layers)), tmp_path / "a.png")
    assert [len(axes.lines) for axes in painter._axes.values()] == [layers] * 3
    named = [text.get_text() for text in painter._figure.legends[0].get_texts()]
    assert named == [f"layer {n}" for n in ([1, 12] if layers == 12 else range(1, layers + 1))]
    scale = "log" if layers > 1 else "linear"
    assert painter._axes["gradient_norm"].get_yscale() == scale
    assert imread(tmp_path / "a.png").shape == (340, 800, 4)


def test_nothing_is_left_of_the_picture_before(tmp_path: Path) -> None:
    painter = FlowPainter()
    painter.draw(trial(history(12)), tmp_path / "a.png")
    painter.draw(trial(history(2)), tmp_path / "b.png")
    FlowPainter().draw(trial(history(2)), tmp_path / "c.png")
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


def test_a_gradient_of_nothing_is_drawn(tmp_path: Path) -> None:
    painter = FlowPainter()
    assert painter.draw(
        trial(history(2) | {"health/gradient_norm_1": np.zeros((E, R))}), tmp_path / "a.png"
    )
    assert painter._axes["gradient_norm"].get_yscale() == "linear"


def test_without_figures_there_is_no_picture(tmp_path: Path) -> None:
    assert not FlowPainter().draw(trial({"epoch_seconds": np.ones((E, R))}), tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
