"""Sweeping: speakers whose time to be kept is over are deleted, now and then, by every process."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from app.errors import TimbreError
from app.service.job_runner import log_failure
from app.service.parts import Parts
from app.store.database import erase_traces

_log: Final = logging.getLogger("timbre.sweeping")


def sweep(parts: Parts) -> int:
    """Delete every speaker whose time to be kept is over, and what a crash left of others.

    Nobody waits for it to be right: such a speaker is in no answer from that moment on.

    Returns:
        How many were deleted.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    swept = 0
    parts.repository.settle_ledger()
    erase_traces(parts.engine)  # a process that dies after a deletion leaves them
    while expired := parts.repository.expired_speakers():
        for tenant_id, speaker_id in expired:
            receipt = parts.repository.delete_speaker(tenant_id, speaker_id, reason="retention")
            swept += receipt is not None
    parts.repository.drop_expired_challenges(datetime.now(UTC))
    return swept


class Repeating:
    """A thread that does something again and again until it is closed; a failure waits for the next time."""

    def __init__(self, name: str, every_s: float, work: Callable[[], object]) -> None:
        """Begin.

        Args:
            name: Of the thread, and in the log.
            every_s: Time between two beginnings, in seconds.
            work: What is done; what it raises is logged.
        """
        self._every_s, self._work = every_s, work
        self._closed: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, after what is being done just now."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._work()
            except TimbreError as problem:
                _log.warning("%s: %s", self._thread.name, problem.code)
            except Exception as failure:  # the next time may be better
                log_failure(self._thread.name, failure)
            self._closed.wait(self._every_s)
