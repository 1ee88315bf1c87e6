"""Tables: rows in a file that all processes of a machine map, so that memory has them once.

A table is named by a digest of its rows and lies in the user's cache folder. A file gets its name
when it is whole and on disk, so that nothing half-written is ever read.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trainer.arrays import Array

KEPT_SECONDS = 30 * 86_400.0
"""How long a table lies unused before it goes."""

PIECE = 32 << 20
"""Bytes, about, that are read, sent or written at a time."""

WAY_OUT = "else $XDG_CACHE_HOME must name another"
"""What to do about a folder that is of no use."""


class TableError(ValueError):
    """A table can't be written or read, or is not what its name says."""


@dataclass(frozen=True)
class Table:
    """Rows (N, D) in float32, in a file of every machine that needs them.

    Attributes:
        digest: of the rows, and the file's name.
        shape: (N, D).
    """

    digest: str
    shape: tuple[int, int]

    @property
    def path(self) -> Path:
        """Where it lies, if this machine has it."""
        return _place() / f"{self.digest}.npy"

    def here(self) -> bool:
        """Whether this machine has it; if so, it counts as used now.

        Raises:
            TableError: the folder of tables can't be used.
        """
        place = folder()
        try:
            os.utime(self.path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unusable(place, error) from error
        return True

    @cached_property
    def rows(self) -> Array:
        """The rows (N, D), mapped once: read when they are touched; not to be written to.

        Raises:
            TableError: this machine has no such table.
        """
        try:
            found = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise TableError(f"{self.path}: must be a table ({error})") from error
        if found.shape != self.shape or found.dtype != np.dtype("<f4"):
            got = f"{found.dtype.str} {found.shape}"
            raise TableError(f"{self.path}: must hold <f4 {self.shape}, got {got}")
        return np.asarray(found)

    def __reduce__(self) -> tuple[Any, ...]:
        return Table, (self.digest, self.shape)  # whoever gets it maps the rows by itself

    @property
    def pieces(self) -> int:
        """How many pieces it is sent in."""
        return -(-self.shape[0] // self._rows_a_piece)

    def piece(self, number: int) -> Array:
        """A copy of the rows of one piece."""
        start = number * self._rows_a_piece
        return self.rows[start : start + self._rows_a_piece].copy()

    @property
    def _rows_a_piece(self) -> int:
        return max(1, PIECE // (4 * self.shape[1]))


def stored(blocks: Iterable[Array], shape: tuple[int, int]) -> Table:
    """Writes a table of this shape, unless this machine has it, from its rows block by block.

    Raises:
        TableError: there is no room for it, or the folder of tables can't be used.
    """
    place = folder()
    hashed = hashlib.blake2b(repr(shape).encode(), digest_size=16)
    try:
        _tidy(place)
        descriptor, part = tempfile.mkstemp(suffix=".part", dir=place)
    except OSError as error:
        raise _unusable(place, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                rows = np.ascontiguousarray(block, "<f4").data
                hashed.update(rows)
                file.write(rows)
            file.flush()
            os.fsync(descriptor)
            size = file.tell()
        table = Table(hashed.hexdigest(), shape)
        # one that is there stays, and with it what others have mapped of it
        if not table.here() or table.path.stat().st_size != size:
            Path(part).replace(table.path)
    except OSError as error:
        gib = shape[0] * shape[1] * 4 / 2**30
        rule = f"must have room for {gib:.3g} GiB of rows"
        raise TableError(f"{place}: {rule}, {WAY_OUT} ({error})") from error
    finally:
        Path(part).unlink(missing_ok=True)
    return table


def received(table: Table, pieces: Iterable[Array]) -> None:
    """Writes a table that comes from elsewhere; one process of a machine does, others wait for it.

    Args:
        table: which one.
        pieces: its pieces in order; not looked at if this machine has the table by now.

    Raises:
        TableError: there is no room for it, the folder of tables can't be used, or it came damaged.
    """
    with _locked(folder() / f"{table.digest}.lock"):
        if table.here():
            return
        found = stored(pieces, table.shape)
        if found != table:
            found.path.unlink()
            raise TableError(f"{table.path}: must have the digest of its name, got {found.digest}")


def folder() -> Path:
    """Where this machine's tables lie: a folder of the user's alone, made if it is not there.

    Raises:
        TableError: it can't be made, or somebody else could write there.
    """
    place = _place()
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = place.stat()
    except OSError as error:
        raise _unusable(place, error) from error
    if about.st_uid != os.getuid() or about.st_mode & 0o077:
        mode = f"{about.st_mode & 0o777:o} of user {about.st_uid}"
        raise TableError(f"{place}: must be this user's alone, of mode 700, got {mode}")
    return place


def _place() -> Path:
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:  # a user without a home, as containers have them
        raise _unusable(Path("~/.cache"), error) from error
    return Path(base) / "sweep" / "tables"


def _unusable(place: Path, error: Exception) -> TableError:
    rule = "must be a folder that can be written to"
    return TableError(f"{place}: {rule}, {WAY_OUT} ({error})")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits until no other process has this lock; the system frees it when its holder dies."""
    import fcntl  # which Windows lacks, where all but large data works

    try:
        file = path.open("w")
    except OSError as error:
        raise _unusable(path.parent, error) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _tidy(place: Path) -> None:
    """Removes what nobody has used for long; processes that have it mapped keep it."""
    oldest = time.time() - KEPT_SECONDS
    for each in place.iterdir():
        try:
            if each.stat().st_mtime < oldest:
                each.unlink()
        except FileNotFoundError:  # another process was quicker
            continue
