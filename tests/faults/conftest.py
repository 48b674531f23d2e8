"""One cluster for all tests that need workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from distributed import Client

from pipelines.run.config import ClusterConfig
from pipelines.run.workers.client import connect


@pytest.fixture(scope="session")
def shared_client() -> Iterator[Client]:
    with connect(ClusterConfig(workers=2, memory="2GB")) as client:
        yield client


@pytest.fixture
def client(shared_client: Client) -> Client:
    """Two workers, both there: an earlier test may have killed one, and on a busy machine another takes a while."""
    try:
        shared_client.wait_for_workers(2, timeout=60)
    except TimeoutError:
        shared_client.cluster.scale(2)  # a nanny gives up where starting takes it too long
        shared_client.wait_for_workers(2, timeout=120)
    return shared_client
