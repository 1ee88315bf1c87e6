"""Weights from PyTorch: a real net's outputs, and files that must not be read."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.arrays import Array
from trainer.config import Config
from trainer.convolution import Image
from trainer.foreign import ForeignError
from trainer.prediction import predict
from trainer.pytorch import load
from trainer.reading import check

torch = pytest.importorskip("torch")
NAMES = {"float32": "F32", "float64": "F64", "int64": "I64"}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_safetensors(path: Path, arrays: dict[str, Array]) -> None:
    """A restatement of the format, sorted by name as strings."""
    header, data = {}, b""
    for name in sorted(arrays):
        raw = np.ascontiguousarray(arrays[name]).tobytes()
        kind, shape = NAMES[str(arrays[name].dtype)], list(arrays[name].shape)
        span = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": span}
        data += raw
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def config(batch_norm: str, hidden: list[int], precision: str = "float32") -> Config:
    model = {"hidden": hidden, "activation": "tanh", "batch_norm": batch_norm}
    return check(Config, {"model": model, "training": {"precision": precision}})


def net(batch_norm: str, hidden: list[int], bias: bool = True) -> Any:
    """A net with trained weights and running statistics; more than ten modules deep."""
    torch.manual_seed(3)
    modules: list[Any] = []
    width = 7
    for units in hidden:
        after = [torch.nn.Tanh()]
        if batch_norm != "none":
            norm = torch.nn.BatchNorm1d(units)
            after.insert(0 if batch_norm == "before" else 1, norm)
        modules += [torch.nn.Linear(width, units, bias=bias), *after]
        width = units
    made = torch.nn.Sequential(*modules, torch.nn.Linear(width, 4))
    optimiser = torch.optim.Adam(made.parameters(), lr=0.02)
    for _ in range(60):
        x = 2 + 3 * torch.randn(32, 7)
        y = x[:, :4].argmax(1)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(made(x), y).backward()
        optimiser.step()
    return made.eval()


def kept(made: Any, path: Path) -> Path:
    arrays = {name: tensor.numpy() for name, tensor in made.state_dict().items()}
    if path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **arrays)
    else:
        write_safetensors(path, arrays)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_norm", ["none", "before", "after"])
def test_outputs_are_those_of_the_net(
    tmp_path: Path, batch_norm: str, bias: bool, suffix: str
) -> None:
    hidden = [6, 6, 6, 6]
    made = net(batch_norm, hidden, bias)
    weights = load(kept(made, tmp_path / f"net{suffix}"), config(batch_norm, hidden))
    x = 2 + 3 * np.random.default_rng(1).standard_normal((50, 7), np.float32)
    with torch.no_grad():
        expected = torch.softmax(made(torch.from_numpy(x)), 1).numpy()
    found = predict(config(batch_norm, hidden), weights, x)[0]
    assert np.ptp(expected, axis=0).max() > 0.05
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


IMAGE = Image(3, 12, 11)


def pictured(batch_norm: str, **cnn: Any) -> Config:
    architecture = {"cnn": {"channels": [4, 6]} | cnn}
    model = {"hidden": [7], "activation": "tanh", "batch_norm": batch_norm}
    return check(Config, {"model": model | {"architecture": architecture}})


def convolutional(cfg: Config, bias: bool = True) -> Any:
    """A net with trained weights in two parts, of which the upper one has the lower name."""
    torch.manual_seed(3)
    cnn, place = cfg.model.architecture, cfg.model.batch_norm.name
    size, pad = cnn["kernel"], cnn["kernel"] // 2 if cnn["padding"].name == "same" else 0
    pooling = {"max": torch.nn.MaxPool2d, "average": torch.nn.AvgPool2d}.get(cnn["pool"].name)

    def block(linear: Any, norm: Any) -> list[Any]:
        after = {
            "none": [torch.nn.Tanh()],
            "before": [norm, torch.nn.Tanh()],
            "after": [torch.nn.Tanh(), norm],
        }
        return [linear, *after[place]]

    images: list[Any] = []
    depth = IMAGE.channels
    for channels in cfg.model.channels:
        linear = torch.nn.Conv2d(depth, channels, size, cnn["stride"], pad, bias=bias)
        images += block(linear, torch.nn.BatchNorm2d(channels))
        images += [pooling(cnn["pool_size"])] if pooling else []
        depth = channels
    features = torch.nn.Sequential(*images, torch.nn.Flatten())
    width = features.eval()(torch.zeros(1, *IMAGE)).shape[1]
    dense = [torch.nn.Linear(width, 7, bias=bias), torch.nn.BatchNorm1d(7)]
    head = torch.nn.Sequential(*block(*dense), torch.nn.Linear(7, 4))

    class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.classifier, self.features = head, features

        def forward(self, x: Any) -> Any:
            return self.classifier(self.features(x))

    made = Net().train()
    optimiser = torch.optim.Adam(made.parameters(), lr=0.02)
    for _ in range(20):
        x = 0.5 + torch.randn(32, *IMAGE)
        y = x[:, 0].reshape(32, 4, -1).mean(2).argmax(1)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(made(x), y).backward()
        optimiser.step()
    return made.eval()


@pytest.mark.parametrize(
    ("cnn", "suffix"),
    [
        ({}, ".safetensors"),
        ({"padding": "valid", "pool": "average"}, ".npz"),
        ({"kernel": 5, "stride": 2, "pool": "none"}, ".npz"),
    ],
    ids=["max", "average", "strides"],
)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_norm", ["none", "before", "after"])
def test_outputs_are_those_of_the_convolutional_net(
    tmp_path: Path, batch_norm: str, bias: bool, cnn: dict[str, Any], suffix: str
) -> None:
    cfg = pictured(batch_norm, **cnn)
    made = convolutional(cfg, bias)
    weights = load(kept(made, tmp_path / f"net{suffix}"), cfg, IMAGE)
    x = 0.5 + np.random.default_rng(1).standard_normal((50, *IMAGE), np.float32)
    with torch.no_grad():
        expected = torch.softmax(made(torch.from_numpy(x)), 1).numpy()
    found = predict(cfg, weights, x.reshape(50, -1))[0]
    assert np.ptp(expected, axis=0).max() > 0.05
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "image", "message"),
    [
        ({}, None, "must come with the shape of its images"),
        ({"kernel": 5}, IMAGE, r"kernels of features\.0 must have shape \(5, 5, 3\), have \(3, 3"),
        ({}, Image(1, 12, 11), r"features\.0 must have shape \(3, 3, 1\), have \(3, 3, 3\)"),
        ({}, Image(3, 12, 19), r"2\.weight must have shape \(72, 7\), is \(36, 7\)"),
        ({"channels": [4, 5]}, IMAGE, r"1\.weight must have shape \(36, 5\), is \(36, 6\)"),
        ({"channels": [4]}, IMAGE, r"must hold 1 convolutions for channels \[4\].* holds 2"),
        ({"pool_size": 5}, IMAGE, "leaves nothing of"),
    ],
    ids=["shape", "kernel", "depth", "size", "channels", "fewer", "small"],
)
def test_another_convolutional_net_is_refused(
    tmp_path: Path, asked: dict[str, Any], image: Image | None, message: str
) -> None:
    path = kept(convolutional(pictured("none")), tmp_path / "net.npz")
    with pytest.raises(ForeignError, match=message):
        load(path, pictured("none", **asked), image)


def test_numbers_in_names_count_by_value(tmp_path: Path) -> None:
    weights = {f"fc{i}.weight": np.full((2, 2), float(i)) for i in range(1, 12)}
    np.savez(tmp_path / "net.npz", allow_pickle=False, **weights)
    found = load(tmp_path / "net.npz", config("none", [2] * 10, "float64"))
    assert [found[f"{i}.weight"][0, 0, 0] for i in range(11)] == list(range(1, 12))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("none", [6, 5]), r"1\.weight must have shape \(6, 5\), is \(6, 6\)"),
        (("none", [6]), r"must hold 2 dense layers for model\.hidden \[6\]"),
        (("after", [6, 6]), r"must hold 2 batch norms for"),
    ],
)
def test_another_net_is_refused(tmp_path: Path, asked: tuple[str, list[int]], message: str) -> None:
    path = kept(net("none", [6, 6]), tmp_path / "net.safetensors")
    with pytest.raises(ForeignError, match=message):
        load(path, config(*asked))


def test_a_foreign_layer_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", allow_pickle=False, **{"conv.weight": np.zeros((2, 3, 5))})
    with pytest.raises(ForeignError, match=r"Conv2d, Linear and BatchNorm .* not 'conv'"):
        load(tmp_path / "net.npz", config("none", []))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = kept(net("none", []), tmp_path / "net.safetensors")
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(ForeignError, match=r"net\.safetensors"):
            load(path, config("none", []))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"w": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, "dtype of w must be one"),
        ({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, "as many bytes"),
        ({"w": {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]}}, "as many bytes"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, "no gap"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "end with its last"),
        ({"w": {"dtype": "F32"}}, "must have dtype, shape and data_offsets"),
        ([], "JSON object"),
    ],
)
def test_a_tampered_header_is_refused(tmp_path: Path, header: Any, message: str) -> None:
    text, path = json.dumps(header).encode(), tmp_path / "net.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(ForeignError, match=message):
        load(path, config("none", []))


def test_pickles_are_never_read(tmp_path: Path) -> None:
    made = net("none", [])
    torch.save(made.state_dict(), tmp_path / "net.pt")
    with pytest.raises(ForeignError, match="no pickle is read"):
        load(tmp_path / "net.pt", config("none", []))
    np.savez(tmp_path / "net.npz", allow_pickle=True, **{"0.weight": np.array([{}], object)})
    with pytest.raises(ForeignError, match="without pickles"):
        load(tmp_path / "net.npz", config("none", []))
