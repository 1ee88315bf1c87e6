"""`python -m benchmarks NAME [--quick] [--json FILE]`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.report import Row, machine, written

BENCHMARKS = {
    "accuracy": "what the techniques reach on real data",
    "chaos": "what real sweeps lose when their parts are killed (exits 1 if anything)",
    "frozen": "training above frozen layers, their outputs made once or for each mini-batch",
    "gpu": "the trainer on a GPU against PyTorch on the same card",
    "memory": "what further workers cost of a machine's memory, data on disk and in memory",
    "record": "what sending trials to MLflow and drawing their pictures costs",
    "scale": "throughput against ideal with 1 to 16 slots, and with 200 simulated nodes",
    "sparse": "the sparse study's nets: prediction with SciPy's CSR and with NumPy",
    "start": "how long a newcomer waits, and what workers cost in memory",
    "sweep": "a sweep against Ray Tune and Optuna alone; slots, first result, long studies",
    "trainer": "the trainer against PyTorch, scikit-learn and its own matrix products",
    "virtual": "how soon random, TPE and ASHA find a low loss, on a table of learning curves",
}
"""What there is to measure: each a module with `run(quick) -> (rows, facts about the machine)`."""


def main(arguments: Sequence[str] | None = None) -> None:
    about = "\n".join(f"  {name}: {note}" for name, note in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Measures one part of the product.\n\n{about}",
        epilog="example: python -m benchmarks trainer --quick --json trainer.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--quick", action="store_true", help="fewer rows, within a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--kills", type=int, metavar="N", help="of chaos: how many")
    parser.add_argument("--seeds", type=int, metavar="N", help="of virtual: how many")
    given = parser.parse_args(arguments)
    options = {}
    for option, owner in (("kills", "chaos"), ("seeds", "virtual")):
        count = getattr(given, option)
        if count is not None and (given.name != owner or count < 1):
            parser.error(f"--{option}: is {owner}'s alone, and at least 1")
        if count is not None:
            options[option] = count
    module = import_module(f"benchmarks.{given.name}")
    run: Callable[..., tuple[list[Row], dict[str, Any]]] = module.run
    rows, facts = run(given.quick, **options)
    written(rows, machine(**facts), given.json)
    if given.name == "chaos" and not all(each.met for each in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
