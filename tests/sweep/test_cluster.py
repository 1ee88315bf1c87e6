"""What is refused before a cluster is asked: a token in the clear."""

import pytest

from sweep.cluster import Cluster, ClusterError
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
