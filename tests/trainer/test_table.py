"""Tables in the cache folder: whole or not there, once a machine, and the user's alone."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from trainer.arrays import Array
from trainer.table import KEPT_SECONDS, Table, TableError, folder, received, stored

X = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "sweep" / "tables"


def table() -> Table:
    return stored([X[:60], X[60:]], X.shape)


def test_rows_are_mapped_and_can_t_be_written_to() -> None:
    rows = table().rows()
    np.testing.assert_array_equal(rows, X)
    assert isinstance(rows.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 0


def test_the_folder_is_the_user_s_alone(cache: Path) -> None:
    assert folder() == cache
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o755)
    with pytest.raises(TableError, match="must be this user's alone, of mode 700, got 755"):
        table()


def test_the_same_rows_are_the_same_file_however_they_came() -> None:
    first = table()
    inode = first.path.stat().st_ino
    assert stored([X], X.shape) == first
    assert first.path.stat().st_ino == inode
    assert stored([X + 1], X.shape) != first


def test_what_broke_off_leaves_nothing(cache: Path) -> None:
    def broken() -> Iterator[Array]:
        yield X[:60]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored(broken(), X.shape)
    assert list(cache.iterdir()) == []


def test_a_file_cut_short_is_written_again() -> None:
    made = table()
    os.truncate(made.path, 200)
    with pytest.raises(TableError, match="must be a table"):
        made.rows()
    np.testing.assert_array_equal(table().rows(), X)


def test_one_of_many_receives_it(cache: Path) -> None:
    pieces = [table().piece(number) for number in range(table().pieces)]
    wanted = table()
    wanted.path.unlink()
    asked = []

    def sent() -> Iterator[Array]:
        asked.append(1)
        time.sleep(0.2)
        yield from pieces

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: received(wanted, sent()), range(4)))
    assert len(asked) == 1
    np.testing.assert_array_equal(wanted.rows(), X)


def test_what_came_damaged_is_not_kept(cache: Path) -> None:
    wanted = table()
    wanted.path.unlink()
    with pytest.raises(TableError, match="must have the digest of its name"):
        received(wanted, [X + 1])
    assert not wanted.here()
    assert list(cache.glob("*.npy")) == []


def test_what_nobody_uses_goes() -> None:
    used, unused = table(), stored([X + 1], X.shape)
    for each in (used, unused):
        long_ago = time.time() - KEPT_SECONDS - 60
        os.utime(each.path, (long_ago, long_ago))
    assert used.here()
    stored([X + 2], X.shape)
    assert used.here()
    assert not unused.here()
