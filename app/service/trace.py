"""What one request did and how long each stage took; the API turns it into a log line and metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Stage: TypeAlias = Literal["decode", "embed", "search", "store"]


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
    """Add the time of the block to the stage `name` of the current trace."""
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds = current().seconds
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
