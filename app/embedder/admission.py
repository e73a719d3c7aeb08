"""Who may run the model now, who waits, and who is turned away."""

from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Condition
from typing import Any, TypeVar

import onnxruntime as ort

from app.errors import InferenceTimeout, ModelNotReady, Overloaded

_QUIET = 4
Result = TypeVar("Result")


class Admission:
    """At most `workers` jobs at once and `queue` waiting.

    A job that is overdue is stopped between two operators of its graph.
    """

    def __init__(self, workers: int, queue: int, timeout_s: float) -> None:
        if workers < 1 or queue < 0 or not timeout_s > 0:
            raise ValueError("workers must be 1 or more, queue 0 or more, timeout_s above 0")
        self._workers, self._queue, self._timeout_s = workers, queue, timeout_s
        self._changed = Condition()
        self._free = workers + queue
        self._patient = 0
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="embedder")

    def run(self, job: Callable[[Any], Result], patience_s: float = 0.0) -> Result:
        """Run `job` on a worker and wait for it.

        Args:
            job: Called with the onnxruntime.RunOptions through which it can be stopped.
            patience_s: Longest wait for a place when none is free, in seconds. Who waits like this comes
                before who does not wait.

        Returns:
            What the job returns; what it raises is raised here.

        Raises:
            Overloaded: Every worker is busy and the queue is full, longer than patience goes; nothing was
                started.
            InferenceTimeout: Waiting and running together took longer than `timeout_s`.
            ModelNotReady: Closed before the job began.
        """
        self._enter(patience_s)
        options = ort.RunOptions()
        options.log_severity_level = _QUIET  # a stopped run is reported by us, once
        try:
            future = self._pool.submit(job, options)
        except RuntimeError:
            self._leave()
            raise ModelNotReady from None
        future.add_done_callback(lambda _: self._leave())
        try:
            return future.result(self._timeout_s)
        except CancelledError:
            raise ModelNotReady from None
        except TimeoutError:
            # The place stays taken until the worker is really free again.
            future.cancel()
            options.terminate = True
            raise InferenceTimeout(self._timeout_s) from None

    def _enter(self, patience_s: float) -> None:
        with self._changed:
            if patience_s > 0:
                self._patient += 1
                try:
                    admitted = self._changed.wait_for(lambda: self._free > 0, patience_s)
                finally:
                    self._patient -= 1
            else:
                admitted = self._free > self._patient
            if not admitted:
                raise Overloaded(self._workers, self._queue)
            self._free -= 1

    def _leave(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify()

    def close(self) -> None:
        """Turn away whoever waits, and wait for what runs."""
        self._pool.shutdown(wait=True, cancel_futures=True)
