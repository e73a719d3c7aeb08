"""Failpoints do nothing unless they are armed, and then exactly what was said."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from app import failpoints
from app.failpoints import POINTS, Failed, Order, arm, parse, reach
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm({})


def test_nothing_happens_unarmed() -> None:
    for point in POINTS:
        reach(point)


def test_the_arrival_counts() -> None:
    arm(parse("enroll.before_commit=raise@2, delete.audited=sleep:0.5"))
    reach("enroll.before_commit")
    reach("enroll.after_commit")
    with pytest.raises(Failed):
        reach("enroll.before_commit")
    reach("enroll.before_commit")


def test_orders_are_read() -> None:
    assert parse("enroll.read=kill") == {"enroll.read": Order("kill")}
    assert parse("enroll.read=kill@3,replay.kept=sleep:0.25") == {
        "enroll.read": Order("kill", arrival=3),
        "replay.kept": Order("sleep", 0.25),
    }
    assert parse("") == {}


@pytest.mark.parametrize(
    "wrong", ["enroll.nowhere=kill", "enroll.read", "enroll.read=burn", "enroll.read=kill@0"]
)
def test_what_nobody_can_reach_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="no failpoint"):
        parse(wrong)
    with pytest.raises(ValidationError):
        Settings(_env_file=None, failpoints=wrong)


def test_only_the_setting_arms() -> None:
    armed = [path.name for path in (ROOT / "app").rglob("*.py") if re.search(r"\barm\(", path.read_text())]
    assert sorted(armed) == ["failpoints.py", "main.py"]
    assert failpoints._armed == {}
