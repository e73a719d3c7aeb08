"""Detectors of presentation attacks: plug-ins that tell a living voice from a played or made one.

Other packages bring detectors by the entry-point group `timbre.pad`; the setting names the one that is used,
so nothing runs only because it is installed. It is loaded and tried out at the start. It works in a thread
of the server, as many recordings at a time as the model, each with a limit of time: nothing can end a thread
that hangs, so one that is overdue keeps its place until it comes back.
"""

import math
import threading
import time
from concurrent.futures import Future
from importlib.metadata import entry_points
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.errors import DetectorInvalid, DetectorUnavailable
from app.settings import Settings

GROUP: Final = "timbre.pad"
"""Entry points `name = "module:factory"`; the factory takes nothing and returns a Detector."""


@runtime_checkable
class Detector(Protocol):
    """What a plug-in has to be; its `score` is called from several threads at a time."""

    name: str
    version: str
    threshold: float
    """In [0, 1]: from this score on a recording is taken for an attack."""

    def score(self, waveform: Waveform) -> float:
        """How much a recording looks like an attack, in [0, 1].

        Args:
            waveform: float32 (samples,), 16 kHz, [-1, 1]: the speech only, its pieces joined.
        """
        ...


class Detection:
    """A detector at work: bounded in number and time, and checked; safe to share between threads."""

    def __init__(self, detector: Detector, workers: int, timeout_s: float) -> None:
        """Use `detector` for at most `workers` recordings at a time, each for at most `timeout_s`."""
        self.detector: Final = detector
        self._places: Final = threading.BoundedSemaphore(workers)
        self._timeout_s: Final = timeout_s

    def score(self, waveform: Waveform) -> float:
        """The detector's score, in [0, 1].

        Raises:
            DetectorUnavailable: It failed, took too long, or said something else.
        """
        deadline = time.monotonic() + self._timeout_s
        if not self._places.acquire(timeout=self._timeout_s):
            raise DetectorUnavailable("it is busy")
        said: Future[float] = Future()
        # A thread of its own, which the end of the process does not wait for.
        threading.Thread(target=self._work, args=(waveform, said), name="timbre-pad", daemon=True).start()
        try:
            score = float(said.result(max(0.0, deadline - time.monotonic())))
        except TimeoutError:
            raise DetectorUnavailable("it takes too long") from None
        except Exception as problem:
            raise DetectorUnavailable(f"it failed with {type(problem).__name__}") from problem
        if not 0.0 <= score <= 1.0:
            raise DetectorUnavailable("its score is not between 0 and 1")
        return score

    def _work(self, waveform: Waveform, said: "Future[float]") -> None:
        try:
            said.set_result(self.detector.score(waveform))
        except BaseException as problem:
            said.set_exception(problem)
        finally:
            self._places.release()


def load_detection(settings: Settings) -> Detection | None:
    """Load the detector of the settings and try it out on a second of noise; None where none is named.

    Raises:
        DetectorInvalid: There is no such plug-in, or it does not do what it has to.
    """
    name = settings.pad_detector
    if name is None:
        return None
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        there = ", ".join(sorted(found)) or "none"
        raise DetectorInvalid(name, f"no installed package brings it; there are: {there}")
    try:
        detector: Any = found[name].load()()
    except Exception as problem:  # whatever the code of others raises
        raise DetectorInvalid(name, f"it cannot be loaded: {_one_line(problem)}") from problem
    _check_contract(name, detector)
    detection = Detection(detector, settings.inference_workers, settings.inference_timeout_s)
    noise = np.random.default_rng(0).normal(0.0, 0.01, SAMPLE_RATE_HZ).astype(np.float32)
    try:
        detection.score(noise)
    except DetectorUnavailable as problem:
        raise DetectorInvalid(name, f"asked about noise, {problem.problem}") from problem
    return detection


def _check_contract(name: str, detector: Any) -> None:
    said = [getattr(detector, fact, None) for fact in ("name", "version", "threshold")]
    if not isinstance(detector, Detector):
        raise DetectorInvalid(name, "it lacks name, version, threshold or score()")
    if not all(isinstance(text, str) and text for text in said[:2]) or not _is_share(said[2]):
        raise DetectorInvalid(name, "name and version must be texts, threshold a number between 0 and 1")


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and 0.0 <= value <= 1.0


def _one_line(problem: Exception) -> str:
    return " ".join(f"{type(problem).__name__}: {problem}".split())[:200]
