"""Where recordings wait: few are worked on at once, some wait, the rest is turned away at the door.

This is the one place where a recording waits; decoders and models behind it are as many as can be at work.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.types import Receive

from app.errors import Overloaded
from app.service.trace import Abandoned, Trace, current
from app.settings import Settings

LaneName: TypeAlias = Literal["recordings", "segments"]
Result = TypeVar("Result")
_PATIENCE_S: Final = 0.1
"""Time for which a place is kept for an upload, in seconds: a client that sends as fast as a local network
does keeps it, and one that hardly sends anything cannot keep it from the others."""
_CALM_S: Final = 1.0
"""Time without a refusal after which a burst may wait again, in seconds."""
_LONGEST_RETRY_S: Final = 60
_SMOOTHING: Final = 0.1
"""Weight of the newest recording in the mean time that one takes."""


class Lane:
    """Places for recordings of one kind, taken from before the upload until the answer.

    A burst waits for its turn. Once it was too much and somebody was turned away, nobody waits any more until
    that is over, and half as many are worked on: turning away takes the processor's time too, and a queue
    that never ends only makes every answer late. Source: the idea of the controlled delay in Maurer, Fail at
    Scale, ACM Queue 13(8), 2015; here places decide, not the time in the queue.
    """

    def __init__(self, at_once: int, waiting: int, *, usual_s: float) -> None:
        """Make a lane in which `at_once` recordings are worked on and `waiting` wait.

        Args:
            at_once: Each has a thread of its own kind, so that nothing else waits behind recordings.
            waiting: More are turned away.
            usual_s: What one takes, until one was timed, in seconds.
        """
        self.at_once, self._most = at_once, at_once + waiting
        self._crowded_until = -math.inf
        self._threads = CapacityLimiter(at_once)
        self._usual_s = usual_s
        self.taken = 0
        """Places that are kept, waited on or worked on."""
        self.shed = 0
        """Recordings turned away so far."""

    @property
    def full(self) -> bool:
        """Nobody is let in now."""
        return self.taken >= (max(1, self.at_once // 2) if self.crowded else self._most)

    @property
    def crowded(self) -> bool:
        """Somebody was turned away just now."""
        return time.monotonic() < self._crowded_until

    def take(self) -> None:
        """Take a place; give it back with `leave`.

        Raises:
            Overloaded: All places are taken.
        """
        if self.full:
            self._crowded_until = time.monotonic() + _CALM_S
            self.shed += 1
            raise self.overloaded()
        self.taken += 1

    def leave(self) -> None:
        """Give a place back."""
        self.taken -= 1

    @property
    def working(self) -> int:
        """Recordings that are worked on."""
        return self._threads.borrowed_tokens

    @property
    def waiting(self) -> int:
        """Recordings that came whole and wait for their turn."""
        return self._threads.statistics().tasks_waiting

    def overloaded(self) -> Overloaded:
        """The refusal, with the time after which a place should be free."""
        turns = (self.taken - self.at_once + 1) / self.at_once
        retry_s = min(_LONGEST_RETRY_S, max(1, math.ceil(turns * self._usual_s)))
        return Overloaded(self.at_once, max(0, self.taken - self.at_once), retry_after_s=retry_s)

    async def later(self, work: Callable[..., Result], *args: Any) -> Result:
        """The same for whom was let in before and has no place: it waits, however many do."""
        self.taken += 1
        try:
            return await self.run(work, *args)
        finally:
            self.leave()

    async def run(self, work: Callable[..., Result], *args: Any) -> Result:
        """Do blocking work in one of the lane's threads, in the order of asking; the caller has a place."""
        return await to_thread.run_sync(self._timed, work, *args, limiter=self._threads)

    def _timed(self, work: Callable[..., Result], *args: Any) -> Result:
        started = time.perf_counter()
        try:
            return work(*args)
        finally:
            self._usual_s += _SMOOTHING * (time.perf_counter() - started - self._usual_s)


class Lanes:
    """The lanes of one process, and the bytes of the recordings in them."""

    def __init__(self, settings: Settings) -> None:
        """Make them as wide as the settings say."""
        self.by_name: Final[dict[LaneName, Lane]] = {
            "recordings": Lane(settings.places, settings.recordings_waiting, usual_s=0.1),
            # A decoder and the model behind it take minutes for hours of a recording.
            "segments": Lane(settings.segments_at_once, settings.segments_at_once, usual_s=10.0),
        }
        self.most_bytes: Final = settings.max_uploads_bytes
        self.held_bytes = 0
        """Bytes of recordings in memory."""

    @property
    def recordings(self) -> Lane:
        """The lane of all but long recordings."""
        return self.by_name["recordings"]


class Place:
    """What one request with a recording holds: a place in a lane, and memory for what it sends."""

    def __init__(self, lanes: Lanes, lane: Lane) -> None:
        """Take the place.

        Raises:
            Overloaded: All are taken.
        """
        self._lanes, self._lane = lanes, lane
        self._bytes = 0
        self._lapsing: asyncio.TimerHandle | None = None
        lane.take()
        self._taken = True

    def receiving(self) -> None:
        """The upload begins: if it takes long, the place goes to whoever comes with a whole one before."""
        self._lapsing = asyncio.get_running_loop().call_later(_PATIENCE_S, self._lapse)

    def hold(self, count: int) -> None:
        """Hold so many bytes more until the answer.

        Raises:
            Overloaded: All recordings together are more than the process may hold.
        """
        if self._lanes.held_bytes + count > self._lanes.most_bytes:
            self._lane.shed += 1
            raise self._lane.overloaded()
        self._lanes.held_bytes += count
        self._bytes += count

    async def work(self, receive: Receive, work: Callable[..., Result], *args: Any) -> Result:
        """Wait for the turn, then do blocking work in a thread, unless the client leaves before.

        Args:
            receive: Tells when the client leaves; the body has been read.
            work: A use case.
            *args: What it is called with.

        Raises:
            Overloaded: The upload took long, and no place is free now.
            ClientDisconnect: The client left before the work was decided.
        """
        self._keep()
        with CancelScope() as waiting:
            leaving = asyncio.create_task(_watch(receive, current(), waiting))
            try:
                return await self._lane.run(work, *args)
            except Abandoned:
                pass
            finally:
                leaving.cancel()
        raise ClientDisconnect

    def leave(self) -> None:
        """Give everything back; the answer is out."""
        self._unset_lapse()
        self._lapse()
        self._lanes.held_bytes -= self._bytes
        self._bytes = 0

    def _keep(self) -> None:
        self._unset_lapse()
        if not self._taken:
            self._lane.take()
            self._taken = True

    def _lapse(self) -> None:
        if self._taken:
            self._taken = False
            self._lane.leave()

    def _unset_lapse(self) -> None:
        if self._lapsing is not None:
            self._lapsing.cancel()


async def _watch(receive: Receive, trace: Trace, waiting: CancelScope) -> None:
    """End the wait when the client leaves; what runs ends before its next stage."""
    while (await receive())["type"] != "http.disconnect":
        pass
    trace.abandoned = True
    waiting.cancel()


def lanes_of(connection: HTTPConnection) -> Lanes:
    """The application's lanes."""
    lanes: Lanes = connection.app.state.lanes
    return lanes


async def at_work(request: Request, work: Callable[..., Result], *args: Any) -> Result:
    """Do what a request with a recording asks for, in its turn.

    Raises:
        Overloaded: The upload took long, and no place is free now.
        ClientDisconnect: The client left.
    """
    place: Place = request.state.place
    return await place.work(request.receive, work, *args)
