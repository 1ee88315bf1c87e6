"""Sources of data: one entry each in `SOURCES`, by the word before the first colon; or user's code.

Every mistake in a file is a `DataError` that names the file and the rule.
"""

import gzip
import importlib.util
import math
import warnings
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer import npz
from trainer.arrays import Array
from trainer.dataset import Content, DataError, Dataset, Unseen, labelled, measured
from trainer.user_code import failure, imported

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load(source: str, allowed: Collection[str] = (), *, numbers: bool = False) -> Dataset:
    """Reads a source.

    Args:
        source: `digits`, `diabetes`, `npz:PATH`, `csv:PATH#COLUMN`, `parquet:PATH#COLUMN` (the
            column that holds y), `idx:DIR` (MNIST's files, gzipped or not), `cifar10:DIR` (the
            binary version), or `MODULE:FUNCTION`, a function without arguments that returns
            x, y or x, y, x_test, y_test.
        allowed: the modules whose code may be imported and run.
        numbers: whether y are numbers to predict, rather than labels.

    Raises:
        DataError: naming the file or the function, and the rule.
        Unseen: the file is not there, or the function may not be imported.
    """
    kind, _, place = source.partition(":")
    if kind not in SOURCES:
        content = _code(source, allowed)
    elif (SOURCES[kind].form == kind) != (not place):
        raise DataError(f"data source {source!r}: must be {SOURCES[kind].form}")
    elif SOURCES[kind].numbers and not numbers:
        raise DataError(f"{source}: has numbers to predict, which need data.task: regression")
    else:
        content = SOURCES[kind].read(place)
    return measured(content) if numbers else labelled(content)


def _code(source: str, allowed: Collection[str]) -> Content:
    """What a function of the user's returns. Whatever goes wrong in it is a mistake in the data."""
    module, _, function = source.partition(":")
    known = ", ".join(SOURCES)
    if not all(word.isidentifier() for word in (*module.split("."), function)):
        raise DataError(f"data source {source!r}: must be one of {known} or MODULE:FUNCTION")
    if module not in allowed:
        rule = f"must be one of {known}; if it is code to import, run with --allow-code {module}"
        raise Unseen(f"data source {source!r}: {rule}")
    try:
        found = imported(source)()
        if not isinstance(found, (tuple, list)) or len(found) not in (2, 4):
            kind = type(found).__name__
            got = f"a {kind} of {len(found)}" if isinstance(found, (tuple, list)) else kind
            raise DataError(f"{source}: must return x, y or x, y, x_test, y_test, got {got}")
        x, y, *test = map(np.asarray, found)
    except DataError:
        raise
    except (Exception, SystemExit) as error:
        raise DataError(f"{source}: {failure(error)}") from error
    return Content(source, x, y, (test[0], test[1]) if test else None)


def _digits(_place: str) -> Content:
    """1,797 handwritten digits, 8x8, from the file that scikit-learn brings.

    `load_digits` gives the same, after a second that it takes to import scikit-learn.
    """
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise Unseen("digits: are part of scikit-learn, which is not installed")
    file = Path(found.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    rows = np.loadtxt(file, delimiter=",")
    return Content("digits", rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(int))


def _diabetes(_place: str) -> Content:
    """442 patients: ten measurements, and how far the disease got in a year (scikit-learn)."""
    from sklearn.datasets import load_diabetes

    found = load_diabetes(scaled=False)
    return Content("diabetes", found.data, found.target, target="progression")


def _npz(place: str) -> Content:
    """Arrays `x` and `y`, and perhaps `x_test` and `y_test`."""
    try:
        arrays = npz.read(_file(place))
    except npz.NpzError as error:
        raise DataError(str(error)) from error
    missing = {"x", "y"} - set(arrays)
    if missing:
        raise DataError(f"{place}: must hold the arrays x and y, got {', '.join(arrays) or 'none'}")
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{place}: must hold both of x_test and y_test or neither")
    test = (arrays["x_test"], arrays["y_test"]) if "x_test" in arrays else None
    return Content(place, arrays["x"], arrays["y"], test)


def _csv(place: str) -> Content:
    import pandas as pd

    def read(file: Path) -> Any:
        with warnings.catch_warnings():
            # rows that are longer than the header: pandas would take the rest for something else
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(file, index_col=False)

    return _table(place, read)


def _parquet(place: str) -> Content:
    import pandas as pd

    return _table(place, pd.read_parquet)


def _table(place: str, read: Callable[[Path], Any]) -> Content:
    """A table with one column to predict: labels, numbers or words, or targets."""
    path, _, target = place.rpartition("#")
    if not path or not target:
        raise DataError(f"{place}: must end in #COLUMN, the column to predict")
    file = _file(path)
    try:
        table = read(file)
    except (OSError, ValueError, Warning) as error:
        raise DataError(f"{path}: must be a readable table ({str(error).strip()})") from error
    if target not in table.columns:
        known = ", ".join(map(str, table.columns))
        raise DataError(f"{path}: must have the column {target}, got {known}")
    column = table.pop(target)
    if column.isna().any():
        raise DataError(f"{path}: column {target} must have a value in every row")
    words = [str(name) for name, kind in table.dtypes.items() if kind.kind not in "biuf"]
    if words:
        raise DataError(f"{path}: features must be numbers, got words in {', '.join(words)}")
    if column.dtype.kind in "biuf":
        return Content(path, table.to_numpy(np.float64), column.to_numpy(), target=target)
    names, y = np.unique(column.to_numpy().astype(str), return_inverse=True)
    return Content(path, table.to_numpy(np.float64), y, names=tuple(map(str, names)))


def _idx(place: str) -> Content:
    """MNIST's layout: images and labels of a training and a test split (LeCun's `idx` format)."""
    parts = [
        _idx_array(Path(place), f"{split}-{kind}-ubyte", axes)
        for split in ("train", "t10k")
        for kind, axes in (("images-idx3", 3), ("labels-idx1", 1))
    ]
    x, y, x_test, y_test = parts
    return Content(place, x, y, (x_test, y_test))


def _idx_array(folder: Path, name: str, axes: int) -> Array:
    """Two zero bytes, the type (8: bytes), the number of axes, their lengths, the values."""
    path = folder / name
    if not path.exists():
        path = folder / f"{name}.gz"
    content = _bytes(path)
    if content[:4] != bytes([0, 0, 8, axes]):
        raise DataError(f"{path}: must be an idx file of bytes with {axes} axes")
    start = 4 + 4 * axes
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    size = math.prod(shape)
    if len(content) != start + size:
        raise DataError(f"{path}: must have {start + size} bytes for {shape}, got {len(content)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _cifar10(place: str) -> Content:
    """Records of a label byte and 3,072 bytes: red, green, blue, each 32 rows of 32."""
    folder = Path(place)
    batches = sorted(folder.glob("data_batch_*.bin"))
    if not batches:
        raise Unseen(f"{folder / 'data_batch_1.bin'}: must exist")
    train = np.concatenate([_cifar10_records(path) for path in batches])
    test = _cifar10_records(folder / "test_batch.bin")
    x, x_test = (records[:, 1:].reshape(-1, 3, 32, 32) for records in (train, test))
    return Content(place, x, train[:, 0], (x_test, test[:, 0]), CIFAR10)


def _cifar10_records(path: Path) -> Array:
    content = _bytes(path)
    if not content or len(content) % 3073:
        raise DataError(f"{path}: must hold records of 3073 bytes, got {len(content)} bytes")
    return np.frombuffer(content, np.uint8).reshape(-1, 3073)


def _file(place: str) -> Path:
    path = Path(place)
    if not path.is_file():
        raise Unseen(f"{place}: must be a file that exists")
    return path


def _bytes(path: Path) -> bytes:
    """The content of a file, unpacked if its name ends in .gz."""
    try:
        content = _file(str(path)).read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: must be readable and whole ({error})") from error


@dataclass(frozen=True)
class Source:
    """One kind of source.

    Attributes:
        form: how it is written.
        read: reads what follows the colon.
        numbers: whether it has no labels.
    """

    form: str
    read: Callable[[str], Content]
    numbers: bool = False


SOURCES: Mapping[str, Source] = {
    "digits": Source("digits", _digits),
    "diabetes": Source("diabetes", _diabetes, numbers=True),
    "npz": Source("npz:PATH", _npz),
    "csv": Source("csv:PATH#COLUMN", _csv),
    "parquet": Source("parquet:PATH#COLUMN", _parquet),
    "idx": Source("idx:DIR", _idx),
    "cifar10": Source("cifar10:DIR", _cifar10),
}
