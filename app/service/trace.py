"""What one request did and how long each stage took; the API turns it into a log line and metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from app.store.replays import Begun

Stage: TypeAlias = Literal["decode", "embed", "search", "store"]
_FOR_SOMEBODY: Final[frozenset[Stage]] = frozenset({"decode", "embed"})
"""Stages that are not begun for a client that has left."""


class Abandoned(Exception):
    """Nobody waits for the answer any more, so the work ends; nothing was decided or stored."""


@dataclass
class Trace:
    """Notes of one request. It never holds audio, names or speaker ids, so it may be logged whole."""

    request_id: str = ""
    """Identifier of the request, given by the caller or generated."""
    seconds: dict[Stage, float] = field(default_factory=dict)
    """Seconds by stage; a stage that ran twice counts both."""
    audio_s: float = 0.0
    """Seconds of recordings that were decoded."""
    code: str | None = None
    """Why the request was refused."""
    abandoned: bool = False
    """Whoever asked has left."""
    begun: Begun | None = field(default=None, repr=False)
    """Its idempotency key, under which its changes are marked; a client's own words, so never logged."""

    def go_on(self) -> None:
        """Go on only while somebody waits for the answer.

        Raises:
            Abandoned: Whoever asked has left.
        """
        if self.abandoned:
            raise Abandoned


_current: Final[ContextVar[Trace | None]] = ContextVar("trace", default=None)


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Make `trace` the one that stages inside the block, threads included, write to."""
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


def current() -> Trace:
    """The trace of this request; a throw-away one outside of any request."""
    return _current.get() or Trace()


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Add the time of the block to the stage `name` of the current trace.

    Raises:
        Abandoned: The block would decode or embed for somebody who has left. What comes after the model is
            brought to its end: a decision that was made counts.
    """
    if name in _FOR_SOMEBODY:
        current().go_on()
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds = current().seconds
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
