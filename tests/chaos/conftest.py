"""What is costly to start, once for all of these tests."""

from collections.abc import Iterator

import pytest

from tests.chaos.postgres import Cluster, safe_cluster
from tests.chaos.servers import Servers, servers


@pytest.fixture(scope="session")
def parent() -> Iterator[Servers]:
    """The process from which servers are forked."""
    with servers() as found:
        yield found


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server to which everything may be done."""
    with safe_cluster() as found:
        yield found
