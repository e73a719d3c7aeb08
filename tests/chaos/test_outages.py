"""What the service stands on is taken away and given back; `make chaos` does it for longer."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.away import POSTGRESQL, SQLITE, NotHere, on_postgresql, on_sqlite
from tests.chaos.clock import told_to_end
from tests.chaos.crashes import site
from tests.chaos.outages import clock_jumps
from tests.chaos.postgres import Cluster
from tests.chaos.servers import Servers

pytestmark = pytest.mark.timeout(300)
SECONDS = 1.0


def endured(outage: Callable[[], object]) -> None:
    """Carries an outage out, where the machine allows it."""
    try:
        outage()
    except NotHere as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("name", SQLITE)
def test_sqlite(parent: Servers, name: str) -> None:
    endured(lambda: on_sqlite(name, parent, SECONDS, 1))


@pytest.mark.parametrize("name", POSTGRESQL)
def test_postgresql(parent: Servers, cluster: Cluster, name: str) -> None:
    endured(lambda: on_postgresql(name, parent, cluster, SECONDS, 1))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_sigterm_under_load(parent: Servers, request: pytest.FixtureRequest, kind: str) -> None:
    cluster = request.getfixturevalue("cluster") if kind == "postgresql" else None
    with site(parent, 2, cluster) as place:
        told_to_end(place, SECONDS)


def test_clock_jumps(database_url: str, tmp_path: Path) -> None:
    endured(lambda: clock_jumps(database_url, tmp_path))
