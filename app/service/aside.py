"""Aside: work that nobody waits for, done a moment later by one thread, or not at all under load."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from app.errors import TimbreError

_MOST_WAITING: Final = 8
_AFTER_S: Final = 0.05
"""Time until a piece of work begins, in seconds: by then the answer that it comes from has been sent."""
_TOO_LATE_S: Final = 2.0
"""Age at which waiting work is dropped, in seconds: the machine has better things to do."""
_log: Final = logging.getLogger("timbre.aside")


class _Work(NamedTuple):
    at: float
    do: Callable[[], None]


class Aside:
    """One thread, begun with the first piece of work, and a short queue; safe to share between threads."""

    def __init__(self) -> None:
        self._changed: Final = threading.Condition()
        self._waiting: Final[deque[_Work]] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.dropped = 0
        """Pieces of work that were never done."""

    def offer(self, do: Callable[[], None]) -> None:
        """Do this soon, if there is time; returns at once. What it raises of ours is logged by its code."""
        with self._changed:
            if self._closed or len(self._waiting) >= _MOST_WAITING:
                self.dropped += 1
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="timbre-aside", daemon=True)
                self._thread.start()
            self._waiting.append(_Work(time.monotonic(), do))
            self._changed.notify()

    def close(self) -> None:
        """End after what is being done just now; what waits is dropped."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            if time.monotonic() - work.at > _TOO_LATE_S:
                self.dropped += 1
                continue
            try:
                work.do()
            except TimbreError as problem:
                _log.info("dropped: %s", problem.code)
                self.dropped += 1
            except Exception as failure:  # nobody is there to be told
                _log.error("failed: %s", type(failure).__qualname__)
                self.dropped += 1

    def _next(self) -> _Work | None:
        with self._changed:
            while not self._closed:
                if not self._waiting:
                    self._changed.wait()
                elif (early_s := self._waiting[0].at + _AFTER_S - time.monotonic()) > 0:
                    self._changed.wait(early_s)
                else:
                    return self._waiting.popleft()
        return None
