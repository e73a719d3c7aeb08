"""The embedder: a model folder, checked and loaded once, then waveform → embedding from any thread."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from app.arrays import SAMPLE_RATE_HZ, Embedding, Waveform
from app.embedder.admission import Admission
from app.embedder.choice import Choice, load_fastest
from app.embedder.golden import read_golden
from app.embedder.loading import LoadedFile, load_file
from app.embedder.manifest import Manifest, Precision, read_manifest
from app.embedder.session import Provider
from app.errors import AudioTooShort, InvalidSamples

_LARGEST_SAMPLE = 1e3
"""60 dB above full scale: what a resampler overshoots is far below, what overflows in the graph far above."""


class Embedder:
    """One speaker model, ready to run.

    Recordings run side by side, each on one thread, and are not gathered into batches: the rows of a batch
    must have one length, padding changes what the pooling over time sees, and on a CPU a batch gains nothing.
    On a GPU it would, but only for recordings that happen to last the same number of samples.

    Attributes:
        manifest: What the model says of itself.
        choice: Which of its files serves, and why.
        provider: The ONNX Runtime provider that really runs, e.g. "CPUExecutionProvider".
        golden_cosine: Least cosine between the golden vectors and what this provider made of them.
        runs: How often the model was run for somebody.
    """

    manifest: Manifest
    choice: Choice
    provider: str
    golden_cosine: float
    runs: int

    def __init__(self, manifest: Manifest, loaded: LoadedFile, choice: Choice, admission: Admission) -> None:
        self.manifest, self.choice = manifest, choice
        self.provider, self.golden_cosine = loaded.provider, loaded.golden_cosine
        self._loaded, self._admission = loaded, admission
        self.runs, self._counting = 0, threading.Lock()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        provider: Provider = "auto",
        precision: Precision | Literal["auto"] = "fp32",
        workers: int = 1,
        queue: int = 16,
        timeout_s: float = 30.0,
    ) -> Self:
        """Load a model folder and refuse it unless everything about it is right.

        Args:
            folder: Folder with manifest.json, golden.npz and the files that the manifest names.
            provider: Where the model runs; see `app.embedder.session.open_session`.
            precision: Which file runs; "auto" times them, see `app.embedder.choice.load_fastest`.
            workers: Recordings embedded at the same time.
            queue: Recordings that may wait for a worker.
            timeout_s: Longest time for waiting and running together, in seconds.

        Returns:
            The embedder; close it in the end.

        Raises:
            ModelInvalid: A missing file or key, a wrong hash, metadata that differ from the manifest, weights
                outside the file, foreign operators, other inputs or outputs than the contract's, or golden
                vectors that are not reproduced.
            ProviderUnavailable: CUDA was asked for and does not run.
        """
        manifest = read_manifest(folder)
        golden = read_golden(folder, manifest.dim)
        if precision == "auto":
            loaded, choice = load_fastest(folder, manifest, golden, provider)
        else:
            loaded = load_file(folder, manifest, golden, precision, provider)
            choice = Choice(precision, "it was asked for by name", {})
        return cls(manifest, loaded, choice, Admission(workers, queue, timeout_s))

    def embed(
        self, waveform: Waveform, patience_s: float = 0.0, before: Callable[[], None] | None = None
    ) -> Embedding:
        """Embed one recording; call it from as many threads as you like.

        Args:
            waveform: float32, shape (samples,), 16 kHz mono, [-1, 1].
            patience_s: Longest wait for a place when the queue is full, in seconds.
            before: Called when its turn has come; what it raises ends the call, and the model does not run.

        Returns:
            Embedding, float32, shape (manifest.dim,), unit length.

        Raises:
            AudioTooShort: Fewer samples than one analysis window.
            InvalidSamples: Samples that are no finite numbers, or far outside the range.
            Overloaded: Every worker is busy and the queue is full.
            InferenceTimeout: Not done in time.
            ModelNotReady: The embedder is closed.
        """
        self._check_waveform(waveform)

        def job(options: Any) -> Embedding:
            if before is not None:
                before()
            with self._counting:
                self.runs += 1
            return self._loaded.run(waveform, options)

        return self._admission.run(job, patience_s)

    def close(self) -> None:
        """Let what runs end, turn away what waits. Closing twice does no harm."""
        self._admission.close()

    def _check_waveform(self, waveform: Waveform) -> None:
        if waveform.ndim != 1 or waveform.dtype != np.float32:
            raise ValueError(f"waveform is {waveform.dtype} {waveform.shape}, not float32 (samples,)")
        needed = self.manifest.window_samples
        if len(waveform) < needed:
            raise AudioTooShort(len(waveform) / SAMPLE_RATE_HZ, needed / SAMPLE_RATE_HZ)
        usable = np.abs(waveform) <= _LARGEST_SAMPLE
        if not usable.all():
            raise InvalidSamples(int(len(waveform) - usable.sum()))
