"""A lane of its own for long work: few at once, some waiting, the rest turned away."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.requests import HTTPConnection

from app.errors import Overloaded
from app.settings import Settings

Result = TypeVar("Result")


class Lane:
    """Places for requests that take long, beside those of all the others."""

    def __init__(self, at_once: int) -> None:
        """Make a lane in which `at_once` requests are worked on, and as many wait."""
        self._at_once = at_once
        self._taken = 0
        self._threads = CapacityLimiter(at_once)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place from before the upload until the answer.

        Raises:
            Overloaded: All places are taken.
        """
        if self._taken >= 2 * self._at_once:
            raise Overloaded(self._at_once, self._taken - self._at_once, retry_after_s=10)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def run(self, work: Callable[..., Result], *args: Any) -> Result:
        """Do blocking work in one of the lane's threads."""
        return await to_thread.run_sync(work, *args, limiter=self._threads)


def lane_of(connection: HTTPConnection, settings: Settings) -> Lane:
    """The application's lane for recordings that are cut into segments."""
    state = connection.app.state
    if getattr(state, "segments_lane", None) is None:
        state.segments_lane = Lane(settings.segments_at_once)
    lane: Lane = state.segments_lane
    return lane
