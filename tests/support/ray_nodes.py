"""A cluster of Ray's own on this machine, for the tests that take a node away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dllm_decode.evaluate.ray_cluster import LOOPBACK


@pytest.fixture
def two_nodes() -> Iterator[Any]:
    """A cluster of two nodes of one CPU, to which executors of this process connect."""
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "node_ip_address": LOOPBACK}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        cluster.add_node(**node)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
