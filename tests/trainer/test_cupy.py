"""The path to a GPU, on a stand-in for one: what it calls exists in CuPy, and trains the same."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.trainer.card import Blas, Cupy, card, cupy
from tests.trainer.conftest import config, fold
from tests.trainer.test_gradients import ACTIVATION_CASES
from trainer import elementwise, streams
from trainer.config import Config
from trainer.data import Data
from trainer.device import Device, DeviceError, opened
from trainer.dropout import KINDS
from trainer.gemm import Gemm, layout
from trainer.optimisers import OPTIMISERS
from trainer.protocol import Progress
from trainer.resident import GAMMA, Resident
from trainer.streams import Purpose
from trainer.tasks import CLASSIFICATION, metrics
from trainer.training import train

METRICS = metrics(CLASSIFICATION)

TRAINING: list[dict[str, Any]] = [
    *({"optimizer": name} for name in OPTIMISERS),
    {"schedule": {"plateau": {"patience": 1}}, "optimizer": "momentum"},
    {"schedule": "cosine", "warmup": 1.5},
    {"clip_norm": 0.5, "l1": 1e-3, "max_norm": 1.0},
    {"clip_value": 0.01, "l2": 1e-2},
    {"label_smoothing": 0.1},
    {"loss": "squared_error", "label_smoothing": 0.1},
    {"batch_size": 100},
    {"batch_size": 20},
    {"batch_size": 1},
]


@pytest.fixture
def stand_in() -> Iterator[tuple[Device, Cupy]]:
    with card() as found:
        yield found


def both(cfg: Config, data: Data, device: Device, epochs: int = 3) -> tuple[Progress, Progress]:
    """Trained on the processor, and there."""
    one = train(cfg, data, None, epochs, seed=0, replicates=2)
    return one, train(cfg, data, None, epochs, seed=0, replicates=2, device=device)


def assert_close(one: Progress, other: Progress, tolerance: float = 1e-9) -> None:
    assert one.state.keys() == other.state.keys()
    for name, array in one.state.items():
        if not name.startswith("seconds."):
            assert type(other.state[name]) is np.ndarray
            np.testing.assert_allclose(
                other.state[name], array, rtol=tolerance, atol=tolerance, err_msg=name
            )
    for name in (*METRICS, "learning_rate"):
        np.testing.assert_allclose(other.history[name], one.history[name], rtol=tolerance)


class TestTraining:
    """Everything that training can do, on the device, in float64: the same but for rounding."""

    @pytest.mark.parametrize("place", ["none", "before", "after"])
    @pytest.mark.parametrize("activation", ACTIVATION_CASES, ids=str)
    def test_nets(
        self, activation: Any, place: str, data: Data, stand_in: tuple[Device, Cupy]
    ) -> None:
        model = {"activation": activation, "batch_norm": place}
        assert_close(*both(config(model, precision="float64"), data, stand_in[0]))

    @pytest.mark.parametrize("training", TRAINING, ids=str)
    def test_steps(
        self, training: dict[str, Any], data: Data, stand_in: tuple[Device, Cupy]
    ) -> None:
        assert_close(*both(config(precision="float64", **training), data, stand_in[0]))

    def test_two_classes(self, stand_in: tuple[Device, Cupy]) -> None:
        cfg = config(loss="binary_cross_entropy", precision="float64")
        assert_close(*both(cfg, Data((fold(classes=2),), 2), stand_in[0]))

    def test_early_stopping(self, data: Data, stand_in: tuple[Device, Cupy]) -> None:
        cfg = config(
            early_stopping={"patience": 2}, epochs=30, learning_rate=0.1, precision="float64"
        )
        one, other = both(cfg, data, stand_in[0], 30)
        assert one.state["stopped"].any()
        assert_close(one, other)

    def test_folds(self, stand_in: tuple[Device, Cupy]) -> None:
        for rows in (61, 60):
            data = Data((fold(61, seed=1), fold(rows, seed=2)), 3)
            assert_close(*both(config(precision="float64"), data, stand_in[0]))

    def test_single_precision(self, data: Data, stand_in: tuple[Device, Cupy]) -> None:
        cfg = config({"batch_norm": "before"}, optimizer="sgd")
        assert_close(*both(cfg, data, stand_in[0], 7), tolerance=1e-4)

    def test_goes_on_from_the_processors_state(
        self, data: Data, stand_in: tuple[Device, Cupy]
    ) -> None:
        cfg = config(precision="float64")
        half = train(cfg, data, None, 2, seed=0, replicates=2)
        there = train(cfg, data, half.state, 5, seed=0, replicates=2, device=stand_in[0])
        here = train(cfg, data, half.state, 5, seed=0, replicates=2)
        assert_close(here, there)

    @pytest.mark.parametrize("kind", KINDS)
    def test_dropout(self, kind: str, data: Data, stand_in: tuple[Device, Cupy]) -> None:
        """Random words of the device's own; the same again, and other ones for another seed."""
        model = {"dropout": {"rate": 0.3, "kind": kind}}
        one, other = both(config(model), data, stand_in[0], 9)
        again = train(config(model), data, None, 9, seed=0, replicates=2, device=stand_in[0])
        np.testing.assert_array_equal(again.state["parameters"], other.state["parameters"])
        loss, found = one.history["train_loss"][-1], other.history["train_loss"][-1]
        assert not np.array_equal(loss, found)
        np.testing.assert_allclose(found, loss, rtol=0.5)


class TestGraph:
    def test_steps_are_launched_as_one(self, data: Data, stand_in: tuple[Device, Cupy]) -> None:
        """Of 3 epochs with 8 steps and an evaluation each all but the first runs, plain."""
        device, noted = stand_in
        both(config(), data, device)
        full, ragged, evaluation = 3 * 7 - 1, 3 - 1, 3 - 1
        assert noted.launches == full + ragged + evaluation

    def test_what_cannot_be_captured_runs_plainly(
        self, data: Data, stand_in: tuple[Device, Cupy]
    ) -> None:
        device, noted = stand_in
        noted.refuses = True
        assert_close(*both(config(precision="float64"), data, device))
        assert noted.launches == 0

    def test_the_host_waits_twice_an_epoch(
        self, data: Data, stand_in: tuple[Device, Cupy], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """For the scores of training and of validation; and for the arrays at the end."""
        device, _ = stand_in
        waits, host = [], device.host

        def waiting(array: np.ndarray) -> np.ndarray:
            waits.append(1)
            return host(array)

        monkeypatch.setattr(device, "host", waiting)
        train(config(optimizer="sgd"), data, None, 3, seed=0, replicates=2, device=device)
        assert len(waits) == 2 * 3 + 2

    def test_data_are_put_there_once(
        self, data: Data, stand_in: tuple[Device, Cupy], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device, _ = stand_in
        both(config(), data, device)
        kept = dict(device._data)
        assert len(kept) == 4
        both(config(), data, device)
        assert {key: id(array) for key, (_, array) in device._data.items()} == {
            key: id(array) for key, (_, array) in kept.items()
        }


class TestRandomWords:
    def test_published_numbers(self, stand_in: tuple[Device, Cupy]) -> None:
        """SplitMix64's first numbers from 1234567, as its reference implementation prints them."""
        words = self.drawn(stand_in[0], key=1234567, count=5)
        assert words.tolist() == [
            6457827717110365317,
            3203168211198807973,
            9817491932198370423,
            4593380528125082431,
            16408922859458223821,
        ]

    def test_steps_go_on_where_the_last_one_ended(self, stand_in: tuple[Device, Cupy]) -> None:
        whole = self.drawn(stand_in[0], key=5, count=12)
        parts = self.drawn(stand_in[0], key=5, count=4, steps=3)
        np.testing.assert_array_equal(whole, parts)

    def test_every_replicate_and_epoch_has_its_own(self) -> None:
        keys = {
            streams.key(seed=s, purpose=Purpose.DROPOUT, replicate=r, epoch=e)
            for s in (0, 1)
            for r in (0, 1)
            for e in (0, 1)
        }
        assert len(keys) == 8
        assert all(0 <= key < 1 << 64 and key != GAMMA for key in keys)

    def drawn(self, device: Device, *, key: int, count: int, steps: int = 1) -> np.ndarray:
        from trainer.arrays import Memory
        from trainer.tape import Tape, Variable

        x, y = np.zeros((4, 2)), np.zeros(4, np.int64)
        held = Resident(device, [x], [y], float, sizes=[4], words=count, scalars=[])
        nothing = np.zeros((1, 1))
        tape = Tape(
            Memory(device),
            variables={"": Variable(nothing, nothing)},
            running={},
            training=True,
        )
        held.gather(tape, 4, count, np.zeros((1, 4, 2)), np.zeros((1, 3, 4)))
        held.begin(np.arange(4)[None], [], np.array([key], np.uint64))
        found = []
        for _ in range(steps):
            tape.run()
            assert held.bits is not None
            found.append(held.bits.view(np.uint64)[0].copy())
        return np.concatenate(found)


class TestGemm:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1)])
    def test_every_way_to_lie(self, shape: tuple[int, int, int], dtype: Any) -> None:
        """Row by row, column by column, in part of a larger array, one for all replicates."""
        m, k, n = shape
        generator, owner = np.random.default_rng(0), Cupy()
        gemm = Gemm(Blas(owner), 1, np.empty(8, np.uint8))

        def arrays(count: int, rows: int, columns: int) -> Iterator[np.ndarray]:
            numbers = generator.standard_normal((count, rows, columns)).astype(dtype)
            yield numbers
            yield np.ascontiguousarray(numbers.swapaxes(1, 2)).swapaxes(1, 2)
            wide = np.zeros((count, rows, columns + 3), dtype)
            wide[:, :, 1:-2] = numbers
            yield wide[:, :, 1:-2]

        for one in (1, 2):
            for other in (1, 2):
                for left in arrays(one, m, k):
                    for right in arrays(other, k, n):
                        for out in arrays(2, m, n):
                            gemm(left, right, out)
                            expected = np.broadcast_to(left @ right, out.shape)
                            np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)

    def test_refuses_what_lies_otherwise(self) -> None:
        with pytest.raises(ValueError, match="no layout"):
            layout(np.zeros((2, 4, 6))[:, ::2, ::2])

    def test_says_what_failed(self) -> None:
        owner = Cupy()
        owner.refuses, owner.captured = True, []
        one = np.zeros((1, 2, 2))
        with pytest.raises(RuntimeError, match="cublasDgemmStridedBatched failed with status 13"):
            Gemm(Blas(owner), 1, np.empty(8, np.uint8))(one, one, one)


def test_kernels_are_what_numpy_does(stand_in: tuple[Device, Cupy]) -> None:
    """Each form of a kernel on numbers, infinities and NaN, as the function of that name does."""
    values = np.array([-2.0, -0.0, 0.5, 3.0, np.inf, -np.inf, np.nan])
    device = stand_in[0]
    for name in elementwise.FORMS:
        function = getattr(np, name)
        if name == "copyto":
            continue
        whole = name in ("right_shift", "bitwise_xor")
        numbers = np.arange(7, dtype=np.uint64) if whole else values
        inputs = [numbers, numbers[::-1].copy()][: function.nin]
        with np.errstate(all="ignore"):
            expected = function(*inputs)
        found = np.zeros_like(expected)
        tape = [functools.partial(getattr(device, name), *inputs, out=found)]
        for operation in device.fuse(tape, scratch=(), filled={}):
            operation()
        np.testing.assert_array_equal(found, expected, err_msg=name)


class TestWithoutOne:
    def test_cupy_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
        with pytest.raises(DeviceError, match=r"install the extra `gpu`"):
            opened()

    def test_no_card(self) -> None:
        if cupy.cuda.is_available():
            pytest.skip("this machine has a GPU")
        with pytest.raises(DeviceError, match="no GPU was found"):
            opened()
