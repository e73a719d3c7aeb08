"""Decoding in processes of its own: a recording that crashes or stalls a codec takes nothing else with it."""

import contextlib
import io
import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Final

import numpy as np
import soundfile

from app.audio import Utterance, prepare
from app.audio.decode import sniff
from app.errors import AudioRefused, AudioUndecodable, Overloaded

_START_LIMIT_S: Final = 120.0
"""Longest time for a worker to import the codecs and to run once, on a slow disk."""
_MEMORY_LIMIT: Final = 8 << 30
"""Address space of a worker, in bytes: a runaway codec fails here rather than in the machine's last page."""

_log = logging.getLogger(__name__)


class DecoderPool:
    """Long-lived decoder processes behind a blocking, thread-safe prepare().

    The processes are spawned, never forked: the server has threads. All of them are up and warm when the
    constructor returns, unless they are to start when they are needed; one that dies or is overdue is killed
    and replaced, and only the recording that it worked on is refused.
    """

    def __init__(
        self,
        workers: int,
        timeout_s: float,
        max_duration_s: float,
        *,
        wait_s: float | None = None,
        lazy: bool = False,
    ) -> None:
        """Start the workers and wait until each has decoded something.

        Args:
            workers: number of processes.
            timeout_s: longest time for one recording, in seconds.
            max_duration_s: longest recording that is decoded, in seconds.
            wait_s: longest wait for a free worker, in seconds; None waits as long as for one recording.
            lazy: start each worker when a recording first needs it.

        Raises:
            RuntimeError: a worker does not start.
        """
        self._size, self._timeout_s, self._max_duration_s = workers, timeout_s, max_duration_s
        self._wait_s = timeout_s if wait_s is None else wait_s
        self._changed = threading.Condition()
        self._waiting = 0
        self._closed = False
        self._all = set() if lazy else {_Worker(max_duration_s) for _ in range(workers)}
        self._idle = list(self._all)
        try:
            for worker in self._idle:
                worker.wait_ready()
        except _WorkerLost as error:
            self.close()
            raise RuntimeError("a decoder process does not start") from error

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
            answer = worker.ask(data, self._timeout_s)
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
            workers, self._all, self._idle = self._all, set(), []
            self._changed.notify_all()
        for worker in workers:
            worker.kill()

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
                worker = _Worker(self._max_duration_s)
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

    def _replace(self, worker: "_Worker") -> "_Worker":
        worker.kill()
        with self._changed:
            self._all.discard(worker)
            if not self._closed:
                worker = _Worker(self._max_duration_s)
                self._all.add(worker)
            return worker


class _WorkerLost(Exception):
    """The process is gone or overdue; the text says what its recording did, for the refusal."""

    def __init__(self, problem: str, *, blameless: bool = False) -> None:
        super().__init__(problem)
        self.blameless = blameless
        """The process never came up, so no recording is to blame."""


class _Worker:
    """One process and the parent's end of its pipe; used by one thread at a time."""

    def __init__(self, max_duration_s: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, max_duration_s), name="timbre-decoder", daemon=True
        )
        self._process.start()
        theirs.close()  # so that the pipe breaks when the process ends
        self._ready = False
        self._killed = threading.Lock()

    def wait_ready(self) -> None:
        if self._ready:
            return
        try:
            if not self._pipe.poll(_START_LIMIT_S):
                raise _WorkerLost("a decoder process takes too long to start", blameless=True)
            self._pipe.recv()
        except (EOFError, OSError):
            raise _WorkerLost("a decoder process ended while it started", blameless=True) from None
        self._ready = True

    def ask(self, data: bytes, timeout_s: float) -> "Utterance | AudioRefused | str":
        self.wait_ready()
        deadline = time.monotonic() + timeout_s
        try:
            self._pipe.send_bytes(data)
            if not self._pipe.poll(max(0.0, deadline - time.monotonic())):
                raise _WorkerLost(f"decoding takes longer than {timeout_s:g} s")
            answer: Utterance | AudioRefused | str = self._pipe.recv()
        except (EOFError, OSError):
            raise _WorkerLost("it crashes the decoder") from None
        return answer

    def alive(self) -> bool:
        with self._killed:
            return not self._pipe.closed and self._process.is_alive()

    def kill(self) -> None:
        # close() may come from one thread while another replaces this worker after a crash.
        with self._killed:
            if self._pipe.closed:
                return
            self._process.kill()
            self._process.join()
            self._process.close()
            self._pipe.close()


def _serve(pipe: Connection, max_duration_s: float) -> None:
    """Answer recordings until the parent goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the group; the parent decides
    _warm_up()
    _confine()
    with contextlib.suppress(EOFError, OSError):
        pipe.send(None)
        while True:
            pipe.send(_answer(pipe.recv_bytes(), max_duration_s))


def _answer(data: bytes, max_duration_s: float) -> Utterance | AudioRefused | str:
    try:
        return prepare(data, max_duration_s=max_duration_s)
    except AudioRefused as refusal:
        return refusal
    except Exception:  # a bug of ours or of a codec: the parent logs it, the worker lives on
        return traceback.format_exc()


def _warm_up() -> None:
    """Load librosa and what it compiles and caches, so that the first caller does not wait for it."""
    noise = np.random.default_rng(0).normal(0, 0.01, 48_000).astype(np.float32)
    wav = io.BytesIO()
    soundfile.write(wav, noise, 48_000, format="WAV", subtype="PCM_16")
    prepare(wav.getvalue(), max_duration_s=2.0)


def _confine() -> None:
    """Take away what decoding does not need: more memory, core dumps, files to write, the log."""
    # mpg123 and FFmpeg write their opinion of a damaged file to the standard error stream.
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    for limit, value in (
        (resource.RLIMIT_AS, _MEMORY_LIMIT),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
