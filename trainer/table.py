"""Tables: rows in a file that all processes of a machine map, so that memory has them once.

A table is named by a digest of its rows and lies in the user's cache folder. A file gets its name
when it is whole and on disk, so that nothing half-written is ever read.
"""

import functools
import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.arrays import Array

KEPT_SECONDS = 30 * 86_400.0
"""How long a table lies unused before it goes."""

PIECE = 32 << 20
"""Bytes, about, that are read, sent or written at a time."""


class TableError(ValueError):
    """A table can't be written, or is not what its name says."""


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
        return folder() / f"{self.digest}.npy"

    def here(self) -> bool:
        """Whether this machine has it; if so, it counts as used now."""
        try:
            os.utime(self.path)
        except FileNotFoundError:
            return False
        return True

    def rows(self) -> Array:
        """The rows (N, D), mapped: read when they are touched; not to be written to.

        Raises:
            TableError: this machine has no such table.
        """
        return _mapped(self.path, self.shape)

    @property
    def pieces(self) -> int:
        """How many pieces it is sent in."""
        return -(-self.shape[0] // self._rows_a_piece)

    def piece(self, number: int) -> Array:
        """A copy of the rows of one piece."""
        start = number * self._rows_a_piece
        return self.rows()[start : start + self._rows_a_piece].copy()

    @property
    def _rows_a_piece(self) -> int:
        return max(1, PIECE // (4 * self.shape[1]))


def stored(blocks: Iterable[Array], shape: tuple[int, int]) -> Table:
    """Writes a table of this shape, unless this machine has it, from its rows block by block.

    Raises:
        TableError: there is no room for it.
    """
    place = folder()
    _tidy(place)
    hashed = hashlib.blake2b(repr(shape).encode(), digest_size=16)
    descriptor, part = tempfile.mkstemp(suffix=".part", dir=place)
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
        raise TableError(f"{place}: must have room for {gib:.3g} GiB of rows ({error})") from error
    finally:
        Path(part).unlink(missing_ok=True)
    return table


def received(table: Table, pieces: Iterable[Array]) -> None:
    """Writes a table that comes from elsewhere; one process of a machine does, others wait for it.

    Args:
        table: which one.
        pieces: its pieces in order; not looked at if this machine has the table by now.

    Raises:
        TableError: there is no room for it, or it came damaged.
    """
    with _locked(folder() / f"{table.digest}.lock"):
        if table.here():
            return
        found = stored(pieces, table.shape)
        if found != table:
            found.path.unlink()
            raise TableError(f"{table.path}: must have the digest of its name, got {found.digest}")


def folder() -> Path:
    """Where this machine's tables lie: a folder of the user's alone.

    Raises:
        TableError: somebody else could write there.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    place = Path(base) / "sweep" / "tables"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = place.stat()
    if about.st_uid != os.getuid() or about.st_mode & 0o077:
        mode = f"{about.st_mode & 0o777:o} of user {about.st_uid}"
        raise TableError(f"{place}: must be this user's alone, of mode 700, got {mode}")
    return place


@functools.lru_cache(maxsize=16)
def _mapped(path: Path, shape: tuple[int, int]) -> Array:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: must be a table ({error})") from error
    if found.shape != shape or found.dtype != np.dtype("<f4"):
        raise TableError(f"{path}: must hold <f4 {shape}, got {found.dtype.str} {found.shape}")
    return np.asarray(found)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits until no other process has this lock; the system frees it when its holder dies."""
    import fcntl  # which Windows lacks, where all but large data works

    with path.open("w") as file:
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
