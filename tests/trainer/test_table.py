"""Tables in the cache folder: whole or not there, once a machine, and the user's alone."""

import errno
import os
import pickle
import pwd
import tempfile
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
    rows = table().rows
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


def test_a_folder_that_can_t_be_made_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = table()
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    told = "file/sweep/tables: must be a folder that can be written to, else .XDG_CACHE_HOME must"
    with pytest.raises(TableError, match=f"{told} name another .*Not a directory"):
        table()
    for use in (made.here, lambda: received(made, [X])):
        with pytest.raises(TableError, match=told):
            use()


def test_a_folder_on_a_disk_to_read_only_is_told(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = table()

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    # root, who may run this, is refused nothing by a folder's mode
    monkeypatch.setattr(tempfile, "mkstemp", refused)
    monkeypatch.setattr(os, "utime", refused)
    monkeypatch.setattr(Path, "open", refused)
    for use in (table, made.here, lambda: received(made, [X])):
        with pytest.raises(TableError, match=r"tables: must be a folder that can.*Read-only file"):
            use()


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(TableError, match=r"~/.cache: must be a folder that can be written to"):
        folder()


def test_rows_are_mapped_once_and_stay_so(cache: Path) -> None:
    tables = [stored([X + number], X.shape) for number in range(40)]
    mapped = [each.rows for each in tables]
    for each in tables:
        each.path.unlink()
    cache.rmdir()
    assert all(each.rows is rows for each, rows in zip(tables, mapped, strict=True))
    assert not cache.exists()  # only who writes looks for the folder


def test_a_mapping_does_not_travel() -> None:
    made = table()
    assert made.rows.nbytes > 1000 > len(pickle.dumps(made))
    sent = pickle.loads(pickle.dumps(made))  # noqa: S301
    assert sent == made
    np.testing.assert_array_equal(sent.rows, X)


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
        _ = made.rows
    np.testing.assert_array_equal(table().rows, X)


def test_one_of_many_receives_it(cache: Path) -> None:
    sender, wanted = table(), table()
    pieces = [sender.piece(number) for number in range(sender.pieces)]
    wanted.path.unlink()
    asked = []

    def sent() -> Iterator[Array]:
        asked.append(1)
        time.sleep(0.2)
        yield from pieces

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: received(wanted, sent()), range(4)))
    assert len(asked) == 1
    assert [each.name for each in cache.glob("*.npy")] == [wanted.path.name]
    np.testing.assert_array_equal(wanted.rows, X)


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
