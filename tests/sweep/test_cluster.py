"""What is refused before a cluster is asked: a token in the clear, data that do not travel."""

from collections.abc import Callable

import pytest

from sweep.cluster import Cluster, ClusterError, travels
from sweep.spec.study import Study
from trainer.rules import ConfigError


@pytest.mark.parametrize(
    "address",
    ["http://10.0.0.4:8265", "http://head.example:8265", "10.0.0.4:8265", "ftp://127.0.0.1:8265"],
)
def test_a_token_is_not_sent_in_the_clear(address: str) -> None:
    with pytest.raises(ConfigError, match=r"--address: must be https://.* on loopback"):
        Cluster(address)


def test_a_cluster_that_does_not_answer_is_told() -> None:
    with pytest.raises(ClusterError, match=r"the cluster at http://127\.0\.0\.1:1"):
        Cluster("http://127.0.0.1:1")


@pytest.mark.parametrize("source", ["digits", "npz:/data/x.npz", "idx:/data/fashion"])
def test_data_that_the_head_can_read(source: str, make_study: Callable[..., Study]) -> None:
    travels(make_study(data={"source": source}))


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("npz:x.npz", "its path must be absolute there"),
        ("csv:data/x.csv#y", "its path must be absolute there"),
        ("mine:load", "does not travel"),
    ],
)
def test_data_that_do_not_travel(source: str, rule: str, make_study: Callable[..., Study]) -> None:
    with pytest.raises(ConfigError, match=f"data.source: .*{rule}"):
        travels(make_study(data={"source": source}))


def test_a_trainer_that_does_not_travel(make_study: Callable[..., Study]) -> None:
    with pytest.raises(ConfigError, match="trainer: does not travel to a cluster's head"):
        travels(make_study(trainer="mine:Trainer"))
