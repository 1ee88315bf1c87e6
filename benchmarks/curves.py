"""Makes the table of learning curves with our trainer: `python -m benchmarks.curves FOLDER`.

It takes about fifty minutes of a processor, in one process and on one thread. The folder holds the
blocks that are done; started again, it goes on after them.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.table import FILE, cells, described, gridded, study
from sweep.datasets import Datasets
from sweep.spec import space
from trainer.arrays import Array
from trainer.config import Config
from trainer.data import Data
from trainer.rules import build
from trainer.training import train

SEARCHED, HELD_OUT = 3, 3
"""Replicates whose mean a search sees, and further ones that judge what it finds."""

BLOCK = 105
"""Rows that are trained between two looks at the folder."""


def data() -> Data:
    """The rows on which the table is trained."""
    return Datasets(study()).data(study().first_config())


def trained(config: Mapping[str, Any], data: Data) -> tuple[Array, float]:
    """Validation losses (E, 6), NaN once a replicate has diverged, and seconds an epoch."""
    built = build(Config, config)
    epochs = built.training.epochs
    losses = np.full((epochs, SEARCHED + HELD_OUT), np.nan)
    began = time.process_time()
    progress = train(built, data, None, epochs, seed=0, replicates=SEARCHED + HELD_OUT)
    seconds = (time.process_time() - began) / progress.epoch
    if progress.diverged is None:
        losses[:] = progress.history["val_loss"]
        return losses, seconds
    for first, count in ((0, SEARCHED), (SEARCHED, HELD_OUT)):  # one that diverges ends the others
        progress = train(built, data, None, epochs, seed=0, replicates=count, first=first)
        good = progress.epoch - (progress.diverged is not None)
        losses[:good, first : first + count] = progress.history["val_loss"][:good]
    return losses, seconds


def make(folder: Path) -> None:
    """Trains the blocks that the folder lacks, then joins all of them."""
    rows, template, known = cells(), gridded(), data()
    folder.mkdir(parents=True, exist_ok=True)
    blocks = [folder / f"{first:06d}.npz" for first in range(0, len(rows), BLOCK)]
    for number, block in enumerate(blocks):
        if block.exists():
            continue
        found = []
        with threadpool_limits(limits=1):
            for row in rows[number * BLOCK : (number + 1) * BLOCK]:
                config = space.resolve(template, lambda each: row[each.name])  # noqa: B023
                found.append(trained(config, known))
        partial = block.with_suffix(".part")
        with partial.open("wb") as file:
            np.savez(file, losses=[each for each, _ in found], seconds=[each for _, each in found])
        partial.replace(block)
        print(f"{number + 1} of {len(blocks)} blocks", flush=True)
    join(blocks, FILE)


def join(blocks: list[Path], path: Path) -> None:
    """Writes the table; a loss keeps its first three digits, which is what float16 holds."""
    parts = [np.load(block, allow_pickle=False) for block in blocks]
    losses = np.concatenate([part["losses"] for part in parts])
    most = float(np.finfo(np.float16).max)
    np.savez_compressed(
        path,
        space=np.array(described()),
        losses=np.minimum(losses[:, :, :SEARCHED], most).astype(np.float16),
        held_out=np.minimum(losses[:, -1, SEARCHED:], most).astype(np.float16),
        seconds=np.concatenate([part["seconds"] for part in parts]).astype(np.float32),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curves", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the blocks lie that are done")
    make(parser.parse_args().folder)


if __name__ == "__main__":
    main()
