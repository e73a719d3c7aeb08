"""Failpoints: named places at which a test lets the process die, to see what is left of its work.

Nothing happens at them unless they are armed, which only the setting TIMBRE_FAILPOINTS does.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast

_STEPS: Final = ("before_transaction", "before_commit", "after_commit")
"""What every write that has points of its own passes."""
POINTS: Final = frozenset(
    {
        *("enroll.read", "enroll.decoded", "enroll.embedded", "enroll.rows_written", "enroll.audited"),
        *("enroll.before_index", "enroll.after_index"),
        *("delete.rows_gone", "delete.receipt", "delete.audited", "delete.traces_gone"),
        *("opt_out.rows_gone", "opt_out.receipt", "opt_out.audited", "opt_out.traces_gone", "opt_out.noted"),
        *("take_back.rows_gone", "take_back.audited", "take_back.traces_gone"),
        *("delete.before_index", "opt_out.before_index", "take_back.before_index"),
        *("ledger.written", "ledger.committed"),
        *("replay.taken", "replay.before_kept", "replay.kept", "replay.answered"),
        *(f"{write}.{step}" for write in ("enroll", "delete", "take_back", "opt_out") for step in _STEPS),
    }
)
"""Every point; the tests kill a process at each."""
_ORDER: Final = re.compile(r"([a-z_.]+)=(kill|sleep|raise)(?::([0-9.]+))?(?:@([1-9][0-9]*))?")


class Failed(Exception):
    """What a point that is armed with `raise` raises: a failure that nobody foresaw."""


@dataclass(frozen=True)
class Order:
    """What happens at a point."""

    action: Literal["kill", "sleep", "raise"]
    seconds: float = 0.0
    """Of a sleep."""
    arrival: int = 1
    """At which arrival; earlier and later ones pass."""


def parse(text: str) -> dict[str, Order]:
    """Read orders as `enroll.before_commit=kill@3, delete.audited=sleep:0.5`.

    Raises:
        ValueError: A point or an action is unknown.
    """
    orders = {}
    for each in filter(None, (part.strip() for part in text.split(","))):
        found = _ORDER.fullmatch(each)
        if found is None or found[1] not in POINTS:
            raise ValueError(f"{each!r} is no failpoint with kill, sleep:SECONDS or raise, as point=kill@3")
        action = cast(Literal["kill", "sleep", "raise"], found[2])
        orders[found[1]] = Order(action, float(found[3] or 0), int(found[4] or 1))
    return orders


_lock: Final = threading.Lock()
_armed: dict[str, Order] = {}
_arrivals: dict[str, int] = {}


def arm(orders: Mapping[str, Order]) -> None:
    """Let these orders be carried out in this process from now on, and no others."""
    with _lock:
        _arrivals.clear()
        _armed.clear()
        _armed.update(orders)


def reach(point: str) -> None:
    """Say that the process has come to a point; where that is armed, it may not come any further.

    Raises:
        Failed: The order says so.
    """
    if _armed:
        _carry_out(point)


def _carry_out(point: str) -> None:
    order = _armed.get(point)
    if order is None:
        return
    with _lock:
        _arrivals[point] = _arrivals.get(point, 0) + 1
        if _arrivals[point] != order.arrival:
            return
    if order.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if order.action == "raise":
        raise Failed(point)
    time.sleep(order.seconds)
