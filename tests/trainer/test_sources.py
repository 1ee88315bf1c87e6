import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.dataset import DataError
from trainer.sources import SOURCES, load


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    images, labels = load_digits().images, load_digits().target
    found = SOURCES["digits"].read("")
    np.testing.assert_array_equal(found.x, images)
    np.testing.assert_array_equal(found.y, labels)
    assert (found.x.dtype, found.y.dtype) == (images.dtype, labels.dtype)


def test_digits_are_read_without_what_takes_a_second_to_import() -> None:
    code = """import sys
from trainer.sources import load
load("digits")
print(sorted({"sklearn", "scipy", "pandas"} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


SHARED = Path(
    os.environ.get("SWEEP_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data")
)


def npz(folder: Path, **arrays: Any) -> str:
    path = folder / "data.npz"
    np.savez(path, **{"x": np.eye(4), "y": [0, 1, 0, 1], **arrays})
    return f"npz:{path}"


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim])
    return head + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """A folder with MNIST's four files: six training and three test images of 2x2."""
    generator = np.random.default_rng(0)
    for split, rows in (("train", 6), ("t10k", 3)):
        images = generator.integers(0, 256, (rows, 2, 2), dtype=np.uint8)
        labels = np.arange(rows, dtype=np.uint8) % 3
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return tmp_path


class TestNpz:
    def test_reads(self, tmp_path: Path) -> None:
        found = load(npz(tmp_path, x=np.arange(16).reshape(4, 2, 2), y=[7, 3, 7, 3]))
        assert found.x.dtype == np.float32
        assert found.x.shape == (4, 4)
        assert found.classes == ("3", "7")
        np.testing.assert_array_equal(found.y, [1, 0, 1, 0])
        assert found.test is None

    def test_reads_a_test_split(self, tmp_path: Path) -> None:
        found = load(npz(tmp_path, x_test=np.ones((2, 4)), y_test=[1, 1]))
        assert found.test is not None
        np.testing.assert_array_equal(found.test[1], [1, 1])

    @pytest.mark.parametrize(
        ("arrays", "rule"),
        [
            ({"x": np.full((4, 4), np.nan)}, "finite"),
            ({"x": np.full((4, 4), 1e300)}, "finite"),
            ({"x": np.array([["a"] * 4] * 4)}, "rows of numbers"),
            ({"x": np.ones(4)}, "rows of numbers"),
            ({"x": np.ones((0, 4)), "y": []}, "rows of numbers"),
            ({"y": [0, 1, 0]}, "one label a row"),
            ({"y": [1, 1, 1, 1]}, "at least two classes"),
            ({"y": [0.5, 1, 0, 1]}, "whole numbers"),
            ({"y": [np.nan, 1, 0, 1]}, "whole numbers"),
            ({"y": ["a", "b", "a", "b"]}, "whole numbers"),
            ({"x_test": np.ones((2, 4))}, "both of x_test and y_test"),
            ({"x_test": np.ones((2, 3)), "y_test": [0, 1]}, "same shape"),
            ({"x_test": np.ones((2, 4)), "y_test": [0, 2]}, "test split: labels must be among"),
            ({"x_test": np.ones((2, 4)), "y_test": [0]}, "test split: y must have one label"),
            ({"x_test": np.ones((2, 2, 2)), "y_test": [0, 1]}, r"same shape, got \(2, 2\) and"),
            ({"y": [1e300, 1, 0, 1]}, r"whole numbers below 2\^63, got 1e\+300"),
            ({"y": np.array([2**64 - 1, 1, 0, 1], np.uint64)}, "whole numbers below"),
        ],
    )
    def test_bad_arrays(self, tmp_path: Path, arrays: dict[str, Any], rule: str) -> None:
        with pytest.raises(DataError, match=rule) as raised:
            load(npz(tmp_path, **arrays))
        assert "data.npz" in str(raised.value)

    def test_missing_arrays(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "data.npz", x=np.eye(4))
        with pytest.raises(DataError, match=r"data\.npz: must hold the arrays x and y, got x"):
            load(f"npz:{tmp_path / 'data.npz'}")

    @pytest.mark.parametrize("keep", [0, 3, 50, 200, -30])
    def test_truncated(self, tmp_path: Path, keep: int) -> None:
        source = npz(tmp_path)
        path = Path(source.removeprefix("npz:"))
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DataError, match=r"data\.npz: must be a"):
            load(source)

    def test_damaged(self, tmp_path: Path) -> None:
        source = npz(tmp_path)
        path = Path(source.removeprefix("npz:"))
        content = bytearray(path.read_bytes())
        content[200] ^= 255
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"data\.npz: must be a"):
            load(source)

    def test_pickles_are_not_loaded(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "data.npz", x=np.array([{}, {}]), y=[0, 1], allow_pickle=True)
        with pytest.raises(DataError, match="without pickles"):
            load(f"npz:{tmp_path / 'data.npz'}")


class TestTables:
    @pytest.fixture(autouse=True)
    def _pandas(self) -> None:
        pytest.importorskip("pandas")

    def test_reads_csv(self, tmp_path: Path) -> None:
        path = tmp_path / "flowers.csv"
        path.write_text("length,kind,width\n1,rose,2\n3,lily,4\n5,rose,6\n")
        found = load(f"csv:{path}#kind")
        assert found.classes == ("lily", "rose")
        np.testing.assert_array_equal(found.x, [[1, 2], [3, 4], [5, 6]])
        np.testing.assert_array_equal(found.y, [1, 0, 1])

    def test_reads_parquet(self, tmp_path: Path) -> None:
        pd = pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
        path = tmp_path / "flowers.parquet"
        pd.DataFrame({"a": [1.0, 2.0], "kind": [4, 9]}).to_parquet(path)
        found = load(f"parquet:{path}#kind")
        assert found.classes == ("4", "9")
        np.testing.assert_array_equal(found.x, [[1], [2]])

    @pytest.mark.parametrize(
        ("text", "column", "rule"),
        [
            ("a,k\n1,x\n2,y\n", "kind", "must have the column kind, got a, k"),
            ("a,k\n1,x\n2,y\n", "", "must end in #COLUMN, the column to predict"),
            ("a,k\n1,x\nb,y\n", "k", "must be numbers, got words in a"),
            ("a,k\n1,x\n,y\n", "k", "finite"),
            ("a,k\n1,x\n2,\n", "k", "column k must have a value in every row"),
            ("a,k\n1,x\n2,x\n", "k", "at least two classes"),
            ("a,k\n1,0.5\n2,1\n", "k", "whole numbers"),
            ("", "k", "readable table"),
            ("a,k\n1,2,0\n3,4,1\n", "k", "readable table"),
            ("a,k\n1,0\n3,4,1\n", "k", "readable table"),
            ("k\n0\n1\n", "k", "rows of numbers"),
        ],
    )
    def test_bad_tables(self, tmp_path: Path, text: str, column: str, rule: str) -> None:
        path = tmp_path / "flowers.csv"
        path.write_text(text)
        with pytest.raises(DataError, match=rule) as raised:
            load(f"csv:{path}#{column}")
        assert "flowers.csv" in str(raised.value)


class TestIdx:
    def test_reads_gzipped_and_plain(self, mnist: Path) -> None:
        found = load(f"idx:{mnist}")
        assert found.x.shape == (6, 4)
        assert found.test is not None
        assert found.test[0].shape == (3, 4)
        np.testing.assert_array_equal(found.y, [0, 1, 2, 0, 1, 2])

    def test_truncated(self, mnist: Path) -> None:
        path = mnist / "train-images-idx3-ubyte"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DataError, match=r"train-images.*must have 40 bytes.*got 39"):
            load(f"idx:{mnist}")

    def test_truncated_gzip(self, mnist: Path) -> None:
        path = mnist / "train-labels-idx1-ubyte.gz"
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(DataError, match="train-labels"):
            load(f"idx:{mnist}")

    def test_images_without_labels(self, mnist: Path) -> None:
        (mnist / "train-labels-idx1-ubyte.gz").unlink()
        (mnist / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(5, dtype=np.uint8)))
        with pytest.raises(DataError, match=r"one label a row, got \(5,\) for 6 rows"):
            load(f"idx:{mnist}")

    def test_images_of_another_shape(self, mnist: Path) -> None:
        (mnist / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((3, 1, 4), np.uint8)))
        with pytest.raises(DataError, match=r"same shape, got \(1, 4\) and \(2, 2\)"):
            load(f"idx:{mnist}")

    def test_absurd_lengths(self, mnist: Path) -> None:
        """Their product is 2^64, which is 0 in 64 bits."""
        head = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (2**31, 2**31, 4))
        (mnist / "train-images-idx3-ubyte").write_bytes(head)
        with pytest.raises(DataError, match=f"must have {2**64 + 16} bytes"):
            load(f"idx:{mnist}")

    def test_another_format(self, mnist: Path) -> None:
        (mnist / "t10k-images-idx3-ubyte").write_bytes(b"%PDF-1.7")
        with pytest.raises(DataError, match=r"t10k-images.*must be an idx file"):
            load(f"idx:{mnist}")

    def test_absent(self, mnist: Path) -> None:
        (mnist / "t10k-images-idx3-ubyte").unlink()
        with pytest.raises(DataError, match=r"t10k-images.*must be a file that exists"):
            load(f"idx:{mnist}")

    def test_fashion_mnist(self) -> None:
        if not (SHARED / "fashion-mnist").is_dir():
            pytest.skip("no Fashion-MNIST in ../shared/data")
        found = load(f"idx:{SHARED / 'fashion-mnist'}")
        assert found.x.shape == (60_000, 784)
        assert len(found.classes) == 10
        assert found.test is not None
        assert found.test[0].shape == (10_000, 784)


class TestCifar10:
    @pytest.fixture
    def cifar(self, tmp_path: Path) -> Path:
        generator = np.random.default_rng(0)
        for name, rows in (("data_batch_1", 3), ("data_batch_2", 2), ("test_batch", 2)):
            records = generator.integers(0, 256, (rows, 3073), dtype=np.uint8)
            records[:, 0] = np.arange(rows)
            (tmp_path / f"{name}.bin").write_bytes(records.tobytes())
        return tmp_path

    def test_reads(self, cifar: Path) -> None:
        found = load(f"cifar10:{cifar}")
        assert found.x.shape == (5, 3072)
        np.testing.assert_array_equal(found.y, [0, 1, 2, 0, 1])
        assert found.classes[3] == "cat"

    def test_truncated(self, cifar: Path) -> None:
        path = cifar / "data_batch_2.bin"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DataError, match=r"data_batch_2\.bin: must hold records of 3073"):
            load(f"cifar10:{cifar}")

    def test_labels(self, cifar: Path) -> None:
        path = cifar / "test_batch.bin"
        path.write_bytes(b"\x0b" + path.read_bytes()[1:])
        with pytest.raises(DataError, match="labels must be among"):
            load(f"cifar10:{cifar}")

    def test_sample(self) -> None:
        if not (SHARED / "cifar10-sample").is_dir():
            pytest.skip("no CIFAR-10 sample in ../shared/data")
        found = load(f"cifar10:{SHARED / 'cifar10-sample'}")
        assert found.test is not None
        assert found.x.shape == (10_000, 3072)
        assert found.test[0].shape == (2_000, 3072)
        assert len(found.classes) == 10
        assert np.bincount(found.y).min() > 900
        assert np.bincount(found.test[1]).min() > 150
        assert (found.x.min(), found.x.max()) == (0, 255)
        # red, green and blue have the means of the whole set (Krizhevsky 2009), in this order
        means = found.x.reshape(-1, 3, 1024).mean(axis=(0, 2)) / 255
        np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=0.005)
        # and neighbours in a row of the picture are alike
        rows = found.x.reshape(-1, 32)
        assert np.corrcoef(rows[:, 15], rows[:, 16])[0, 1] > 0.9


class TestCode:
    """A user's own source, `module:function`."""

    @pytest.fixture
    def write(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
        """Writes the module `rose_garden`."""
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "rose_garden", raising=False)
        head = "import numpy as np\nfrom pathlib import Path\n"

        def write(text: str) -> None:
            (tmp_path / "rose_garden.py").write_text(head + text)

        return write

    def test_reads(self, write: Callable[[str], None]) -> None:
        write("def rows():\n    return np.arange(12.0).reshape(3, 2, 2), [7, 3, 7]\n")
        found = load("rose_garden:rows", ["rose_garden"])
        assert found.classes == ("3", "7")
        assert found.test is None
        np.testing.assert_array_equal(found.x, np.arange(12, dtype=np.float32).reshape(3, 4))

    def test_reads_a_test_split(self, write: Callable[[str], None]) -> None:
        write("def rows():\n    x = np.eye(4)\n    return x, [0, 1, 0, 1], x[:2], [1, 1]\n")
        found = load("rose_garden:rows", {"other", "rose_garden"})
        assert found.test is not None
        np.testing.assert_array_equal(found.test[1], [1, 1])

    @pytest.mark.parametrize("allowed", [(), ("rose",), ("rose_garden.beds",)])
    def test_is_not_imported_unless_allowed(
        self, write: Callable[[str], None], tmp_path: Path, allowed: tuple[str, ...]
    ) -> None:
        mark = tmp_path / "imported"
        write(f"Path({str(mark)!r}).touch()\ndef rows(): ...\n")
        with pytest.raises(DataError, match="run with --allow-code rose_garden"):
            load("rose_garden:rows", allowed)
        assert not mark.exists()
        with pytest.raises(DataError, match="must return"):
            load("rose_garden:rows", ("rose_garden",))
        assert mark.exists()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1 / 0", "failed with ZeroDivisionError: division by zero"),
            ("def rows(:", "failed with SyntaxError: invalid syntax"),
            ("import no_such_thing", "failed with ModuleNotFoundError: No module named 'no_such"),
            ("raise SystemExit(3)", "failed with SystemExit: 3"),
            ("rows = 3", "failed with TypeError: 'int' object is not callable"),
            ("def other(): ...", "failed with AttributeError: .*'rows'"),
            ("def rows(path): ...", "failed with TypeError: .*missing 1 required"),
            ("def rows(): {}['x']", "failed with KeyError: 'x'"),
            ("def rows(): ...", "must return x, y or x, y, x_test, y_test, got NoneType"),
            ("def rows(): return np.eye(2)", "must return x, y or .*, got ndarray"),
            ("def rows(): return 1, 2, 3", "must return x, y or .*, got a tuple of 3"),
            ("def rows(): return [[1, 2], [3]], [0, 1]", "failed with ValueError"),
            ("def rows(): return [1, 2], [0, 1]", r"x must be rows of numbers, got int64 \(2,\)"),
            ("def rows(): return [[1], [{}]], [0, 1]", "x must be rows of numbers, got object"),
            ("def rows(): return [[1], [2]], [0, 1, 2]", "y must have one label a row"),
            ("def rows(): return [[1], [2]], ['a', 'b']", "labels must be whole numbers"),
            ("def rows(): return [[1], [np.nan]], [0, 1]", "features must be finite"),
            ("def rows(): return [[1], [2]], [0, 1], [[1, 2]], [0]", "rows of both splits must"),
            ("def rows(): return [[1], [2]], [0, 1], [[1]], [2]", "labels must be among"),
        ],
    )
    def test_mistakes(self, write: Callable[[str], None], text: str, message: str) -> None:
        write(text + "\n")
        with pytest.raises(DataError, match=f"^rose_garden:rows.*: {message}"):
            load("rose_garden:rows", ("rose_garden",))

    def test_its_own_error_keeps_its_cause(self, write: Callable[[str], None]) -> None:
        write("def rows():\n    raise RuntimeError('no\\nroses')\n")
        with pytest.raises(DataError, match="roses") as raised:
            load("rose_garden:rows", ("rose_garden",))
        assert isinstance(raised.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("npz:/no/such.npz", r"/no/such\.npz: must be a file that exists"),
        ("cifar10:/no/such", "data_batch_1.bin: must exist"),
        ("nonsense", "must be one of digits, .*npz.* or MODULE:FUNCTION"),
        ("my data:rows", "must be one of digits, .*npz.* or MODULE:FUNCTION"),
        (":rows", "must be one of digits, .*npz.* or MODULE:FUNCTION"),
        ("csvs:rows", "must be one of digits, .*npz.*; if it is code"),
        ("digits:x", "must be digits"),
        ("npz:", "must be npz:PATH"),
    ],
)
def test_bad_sources(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(source)
