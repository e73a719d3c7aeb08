"""kill -9 at every failpoint and at random moments, on both databases; `make chaos` is the long version."""

import random

import pytest

from app.failpoints import POINTS
from tests.chaos.crashes import Plan, Tally, plans, run
from tests.chaos.postgres import Cluster
from tests.chaos.servers import Servers


@pytest.mark.timeout(900)
def test_sqlite_loses_nothing(parent: Servers) -> None:
    tally = Tally()
    run(plans("sqlite", 4, random.Random(3), sorted(POINTS)), 3, tally, parent, disable=True)
    assert tally.points["sqlite"] == len(POINTS)
    assert tally.acknowledged > tally.kills["sqlite"]


@pytest.mark.timeout(900)
def test_postgresql_loses_nothing(parent: Servers, cluster: Cluster) -> None:
    tally, dice = Tally(), random.Random(4)
    todo = [*plans("postgresql", 3, dice, sorted(POINTS)), Plan(way="postgresql"), Plan(way="both")]
    run(todo, 4, tally, parent, cluster, disable=True)
    assert tally.points["postgresql"] == len(POINTS)
    assert tally.ways["postgresql"] >= 2
    assert tally.acknowledged > tally.kills["postgresql"]
