"""Decoding in processes of its own: a recording that crashes or stalls a codec takes nothing else with it."""

import json
import logging
import threading
import time
from typing import Any, Final

from app.audio import Utterance
from app.audio.decode import sniff
from app.audio.nursery import Nursery
from app.audio.wire import Answer, Line, receive_answer
from app.errors import AudioRefused, AudioUndecodable, Overloaded

_START_LIMIT_S: Final = 120.0
"""Longest time for a worker to be there; the first waits until the codecs are imported, from a slow disk."""
_HELLO_BYTES: Final = 4096

_log = logging.getLogger(__name__)


class DecoderPool:
    """Long-lived decoder processes behind a blocking, thread-safe prepare().

    All of them are up and warm when the constructor returns, unless they are to start when they are needed;
    one that dies or is overdue is killed and replaced, and only the recording that it worked on is refused.
    """

    def __init__(
        self,
        workers: int,
        timeout_s: float,
        max_duration_s: float,
        *,
        wait_s: float | None = None,
        lazy: bool = False,
        nursery: Nursery | None = None,
    ) -> None:
        """Start the workers and wait until each is ready.

        Args:
            workers: number of processes.
            timeout_s: longest time for one recording, in seconds.
            max_duration_s: longest recording that is decoded, in seconds.
            wait_s: longest wait for a free worker, in seconds; None waits as long as for one recording.
            lazy: start each worker when a recording first needs it.
            nursery: where they are born; the pool makes one of its own when none is given.

        Raises:
            RuntimeError: a worker does not start.
        """
        self._size, self._timeout_s, self._max_duration_s = workers, timeout_s, max_duration_s
        self._wait_s = timeout_s if wait_s is None else wait_s
        self._nursery, self._own_nursery = nursery or Nursery(), nursery is None
        self._changed = threading.Condition()
        self._waiting = 0
        self._closed = False
        self._all = set() if lazy else {self._worker() for _ in range(workers)}
        self._idle = list(self._all)
        try:
            for worker in self._idle:
                worker.wait_ready()
        except _WorkerLost as error:
            self.close()
            raise RuntimeError("a decoder process does not start") from error

    @property
    def in_force(self) -> dict[str, Any]:
        """How the decoders are confined, as one of them said when it was born."""
        with self._changed:
            said = [worker.in_force for worker in self._all if worker.in_force]
        newest = said[-1] if said else {}
        return {
            "processes": len(said),
            "start_method": "fork server",
            "cpu_limit_s": self._timeout_s,
            **newest,
        }

    @property
    def pids(self) -> frozenset[int]:
        """The processes that are up."""
        with self._changed:
            return frozenset(worker.pid for worker in self._all if worker.pid)

    def prepare(self, data: bytes) -> Utterance:
        """Do app.audio.prepare(data) in a worker.

        Args:
            data: the bytes of the upload.

        Raises:
            AudioRefused: the worker's own refusal, or AudioUndecodable when it crashed or took too long.
            Overloaded: no worker came free in time.
            RuntimeError: the pool is closed.
        """
        worker = self._take()
        try:
            if not worker.alive():  # it died between two recordings: nothing that this one did
                worker = self._replace(worker)
            answer = worker.ask(data)
        except _WorkerLost as lost:
            worker = self._replace(worker)
            _log.warning("decoder process replaced: %s", lost)
            if lost.blameless:
                raise Overloaded(workers=self._size, waiting=self._waiting) from None
            raise AudioUndecodable(container=sniff(data), problem=str(lost)) from None
        finally:
            self._give(worker)
        if isinstance(answer, str):
            _log.error("decoder failed on a recording of %d bytes:\n%s", len(data), answer)
            raise AudioUndecodable(container=sniff(data), problem="the decoder failed on it")
        if isinstance(answer, AudioRefused):
            raise answer
        return answer

    def close(self) -> None:
        """End every worker, busy ones too; safe to call again."""
        with self._changed:
            self._closed = True
            workers, idle = self._all, self._idle
            self._all, self._idle = set(), []
            self._changed.notify_all()
        for worker in workers:
            worker.kill()  # whoever waits for a busy one hears that it is gone, and lets go of it
        for worker in idle:
            worker.let_go()
        if self._own_nursery:
            self._nursery.close()

    def _take(self) -> "_Worker":
        with self._changed:
            self._waiting += 1
            try:
                free = self._changed.wait_for(self._obtainable, self._wait_s)
            finally:
                self._waiting -= 1
            if self._closed:
                raise RuntimeError("the decoder pool is closed")
            if not free:
                raise Overloaded(workers=self._size, waiting=self._waiting)
            if not self._idle:
                worker = self._worker()
                self._all.add(worker)
                return worker
            return self._idle.pop()

    def _obtainable(self) -> bool:
        return bool(self._idle) or len(self._all) < self._size or self._closed

    def _give(self, worker: "_Worker") -> None:
        with self._changed:
            if worker in self._all:
                self._idle.append(worker)
                self._changed.notify()
                return
        worker.kill()  # the pool was closed meanwhile
        worker.let_go()

    def _replace(self, worker: "_Worker") -> "_Worker":
        worker.kill()
        worker.let_go()
        with self._changed:
            self._all.discard(worker)
            if not self._closed:
                worker = self._worker()
                self._all.add(worker)
            return worker

    def _worker(self) -> "_Worker":
        return _Worker(self._nursery, self._timeout_s, self._max_duration_s)


class _WorkerLost(Exception):
    """The process is gone or overdue; the text says what its recording did, for the refusal."""

    def __init__(self, problem: str, *, blameless: bool = False) -> None:
        super().__init__(problem)
        self.blameless = blameless
        """The process never came up, so no recording is to blame."""


class _Worker:
    """One process and the socket to it; used by one thread at a time."""

    def __init__(self, nursery: Nursery, timeout_s: float, max_duration_s: float) -> None:
        self._nursery, self._timeout_s, self._max_duration_s = nursery, timeout_s, max_duration_s
        self._line: Line | None = None
        self.pid = 0
        self.in_force: dict[str, bool | int] = {}

    def wait_ready(self) -> None:
        """Wait until it can take a recording; born at the first call.

        Raises:
            _WorkerLost: It does not start.
        """
        if self._line is not None:
            return
        try:
            line = Line(self._nursery.born(self._timeout_s, self._max_duration_s))
        except OSError as error:
            raise _WorkerLost(f"no decoder process: {error}", blameless=True) from None
        try:
            hello = json.loads(line.receive(_HELLO_BYTES, time.monotonic() + _START_LIMIT_S))
        except (EOFError, OSError) as error:
            line.close()
            how = "takes too long to start" if isinstance(error, TimeoutError) else "ended while it started"
            raise _WorkerLost(f"a decoder process {how}", blameless=True) from None
        self._line, self.pid, self.in_force = line, hello["pid"], hello["in_force"]

    def ask(self, data: bytes) -> Answer:
        """Have a recording decoded.

        Raises:
            _WorkerLost: The process crashed, took too long, or answered nonsense.
        """
        self.wait_ready()
        assert self._line is not None
        deadline = time.monotonic() + self._timeout_s
        try:
            self._line.send(data, deadline)
            return receive_answer(self._line, self._max_duration_s, deadline)
        except TimeoutError:
            raise _WorkerLost(f"decoding takes longer than {self._timeout_s:g} s") from None
        except (EOFError, OSError, ValueError):
            raise _WorkerLost("it crashes the decoder") from None

    def alive(self) -> bool:
        """Not seen to have ended; an idle process has nothing to say."""
        return self._line is None or self._line.silent()

    def kill(self) -> None:
        """End the process, whatever it does; from any thread."""
        if self.pid:
            self._nursery.kill(self.pid)

    def let_go(self) -> None:
        """Close the socket; from the thread that uses it, or when none does."""
        if self._line is not None:
            self._line.close()
