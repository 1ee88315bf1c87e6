"""Several machines as far as Ray knows, on this one."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import ray

quiet = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
"""For tests with machines: Ray leaves sockets to the garbage collector."""


@contextmanager
def machines(**head: Any) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` with a head like this; what is left of it goes at the end."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        del made
        gc.collect()
