"""How the tables of large data come to the machines that train on them, each once."""

from collections.abc import Iterable, Iterator

from trainer.arrays import Array
from trainer.table import Table, received


def bring(tables: Iterable[Table], home: str) -> None:
    """Makes sure that this machine has the tables; those it lacks come from the driver's.

    To be called in a Ray task. No piece stays in the object store longer than it is on its way.

    Args:
        tables: what is needed.
        home: the Ray node on which the driver runs.
    """
    for table in tables:
        if not table.here():
            received(table, _pieces(table, home))


def _pieces(table: Table, home: str) -> Iterator[Array]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(home, soft=False)
    read = ray.remote(num_cpus=0)(_read).options(name="read", scheduling_strategy=there)
    for number in range(table.pieces):
        yield ray.get(read.remote(table, number))


def _read(table: Table, number: int) -> Array:
    return table.piece(number)
