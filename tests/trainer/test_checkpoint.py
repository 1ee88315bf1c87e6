import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.checkpoint import CheckpointError, load, save

ARRAYS = {
    "weight": np.arange(600, dtype=np.float32).reshape(2, 30, 10),
    "epoch": np.array(3),
    "empty": np.zeros((2, 0)),
    "classes": np.array(["cat", "dog"]),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
}
CONFIG = {"model": {"hidden": [7, 5], "activation": "relu"}, "rate": 0.1}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "weights.npz"
    save(target, ARRAYS, CONFIG)
    return target


def rewritten(path: Path, **changes: Any) -> None:
    """The file with other values in its header, or other arrays."""
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(str(arrays.pop("__checkpoint__")))
    header |= {k: v for k, v in changes.items() if k in {"format", "version", "config"}}
    arrays |= {k: v for k, v in changes.items() if isinstance(v, np.ndarray)}
    np.savez(path, __checkpoint__=np.array(json.dumps(header)), **arrays)


def test_round_trip(path: Path) -> None:
    arrays, config = load(path)
    assert config == CONFIG
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape


def test_leaves_no_other_file(path: Path) -> None:
    assert [each.name for each in path.parent.iterdir()] == ["weights.npz"]


def test_a_failed_write_keeps_the_old_file(path: Path) -> None:
    with pytest.raises(TypeError, match="bad: must hold numbers"):
        save(path, {"bad": np.array([object()])}, {})
    with pytest.raises(TypeError):
        save(path, {}, {"bad": object()})
    assert load(path).config == CONFIG
    assert len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("keep", [0, 10, 500, 2000, -1, -200])
def test_truncated(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"weights\.npz: must be a"):
        load(path)


def test_no_flipped_bit_goes_unnoticed(path: Path) -> None:
    content = path.read_bytes()
    for at in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        try:
            arrays, config = load(path)
        except CheckpointError:
            continue
        assert config == CONFIG
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"rate": 0.2}},
        {"weight": np.zeros((2, 30, 10), np.float32)},
        {"weight": ARRAYS["weight"].reshape(2, 10, 30)},
        {"epoch": np.array(4)},
        {"more": np.zeros(1)},
    ],
    ids=str,
)
def test_tampered(path: Path, change: dict[str, Any]) -> None:
    rewritten(path, **change)
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        load(path)


def test_newer(path: Path) -> None:
    rewritten(path, version=2)
    with pytest.raises(CheckpointError, match="format 2, this version reads up to 1"):
        load(path)


@pytest.mark.parametrize("version", ["1", 0, None])
def test_nonsensical_version(path: Path, version: Any) -> None:
    rewritten(path, version=version)
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        load(path)


def test_foreign(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.eye(2))
    np.save(tmp_path / "data.npy", np.eye(2))
    (tmp_path / "text").write_text("hello")
    for name in ("data.npz", "data.npy", "text", "absent"):
        with pytest.raises(CheckpointError, match=name):
            load(tmp_path / name)
    np.savez(tmp_path / "pickled.npz", x=np.array([{}]), allow_pickle=True)
    with pytest.raises(CheckpointError, match="pickled"):
        load(tmp_path / "pickled.npz")
