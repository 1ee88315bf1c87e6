"""Reading `.npz` files, which may come from anywhere: no pickle, one error."""

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from trainer.arrays import Array


class NpzError(ValueError):
    """A file that is no whole `.npz` file of plain arrays."""


def read(path: str | os.PathLike[str]) -> dict[str, Array]:
    """All arrays of a file by name.

    Raises:
        NpzError: the file is not there, not whole, not of this format, or holds pickles.
    """
    try:
        # opened here, since numpy.load leaves a broken file open
        with Path(path).open("rb") as file:
            held = np.load(file, allow_pickle=False)
            if isinstance(held, np.ndarray):
                raise NpzError(f"{path}: must be a .npz file, not a single array")
            with held:
                return {name: held[name] for name in held.files}
    except FileNotFoundError:
        raise NpzError(f"{path}: must be a file that exists") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise NpzError(f"{path}: must be a whole .npz file ({error})") from error
    except ValueError as error:
        if isinstance(error, NpzError):
            raise
        raise NpzError(f"{path}: must be a .npz file without pickles ({error})") from error
