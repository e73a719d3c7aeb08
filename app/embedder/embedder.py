"""The embedder: a model folder, checked and loaded once, then waveform → embedding from any thread."""

from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np

from app.arrays import SAMPLE_RATE_HZ, Embedding, Waveform
from app.embedder.admission import Admission
from app.embedder.golden import least_cosine, read_golden
from app.embedder.manifest import METADATA_KEY, Manifest, read_manifest, sha256_of_bytes
from app.embedder.onnx_file import inspect
from app.embedder.session import Provider, open_session
from app.errors import AudioTooShort, InvalidSamples, ModelInvalid, ProviderUnavailable

Precision = Literal["fp32", "int8"]

LEAST_COSINE: Final = {"fp32": 0.999, "int8": 0.98}
"""Cosine with which a file must reproduce the golden vectors. Another provider's rounding costs below 1e-4;
eight bits are an approximation by intent, so they are asked for less, and only where there is speech enough
to be compared (`min_speech_s`)."""
_LARGEST_SAMPLE = 1e3
"""60 dB above full scale: what a resampler overshoots is far below, what overflows in the graph far above."""


class Embedder:
    """One speaker model, ready to run.

    Recordings run side by side, each on one thread, and are not gathered into batches: the rows of a batch
    must have one length, padding changes what the pooling over time sees, and on a CPU a batch gains nothing.
    On a GPU it would, but only for recordings that happen to last the same number of samples.

    Attributes:
        manifest: What the model says of itself.
        provider: The ONNX Runtime provider that really runs, e.g. "CPUExecutionProvider".
        golden_cosine: Least cosine between the golden vectors and what this provider made of them.
    """

    manifest: Manifest
    provider: str
    golden_cosine: float

    def __init__(self, manifest: Manifest, session: Any, admission: Admission) -> None:
        self.manifest = manifest
        self.provider = session.get_providers()[0]
        self.golden_cosine = 0.0
        self._session, self._admission = session, admission

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        provider: Provider = "auto",
        precision: Precision = "fp32",
        workers: int = 1,
        queue: int = 16,
        timeout_s: float = 30.0,
    ) -> Self:
        """Load a model folder and refuse it unless everything about it is right.

        Args:
            folder: Folder with manifest.json, golden.npz and model.onnx (or model.int8.onnx).
            provider: Where the model runs; see `app.embedder.session.open_session`.
            precision: Which file runs.
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
        data = _checked_bytes(folder, manifest, precision)
        try:
            session = open_session(data, provider)
        except ProviderUnavailable:
            raise
        except Exception as error:  # ONNX Runtime's own, which have no common ancestor
            raise ModelInvalid(str(folder), f"the graph cannot be loaded: {error}") from error
        problem = _wrong_signature(session, manifest.dim)
        if problem:
            raise ModelInvalid(str(folder), problem)
        embedder = cls(manifest, session, Admission(workers, queue, timeout_s))
        try:
            embedder._check_golden(folder, golden, precision)
        except BaseException:
            embedder.close()
            raise
        return embedder

    def embed(self, waveform: Waveform) -> Embedding:
        """Embed one recording; call it from as many threads as you like.

        Args:
            waveform: float32, shape (samples,), 16 kHz mono, [-1, 1].

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
        return self._admission.run(lambda options: self._run(waveform, options))

    def close(self) -> None:
        """Let what runs end, turn away what waits. Closing twice does no harm."""
        self._admission.close()

    def _run(self, waveform: Waveform, options: Any = None) -> Embedding:
        rows = self._session.run(["embedding"], {"waveform": waveform[None, :]}, options)[0]
        embedding: Embedding = rows[0]
        # NaN fails the comparison too. Nothing that is no unit vector may reach the gallery.
        if not abs(float(np.linalg.norm(embedding)) - 1.0) < 1e-3:
            raise ArithmeticError(f"{self.manifest.model_id} gave an embedding that has no unit length")
        return embedding

    def _check_waveform(self, waveform: Waveform) -> None:
        if waveform.ndim != 1 or waveform.dtype != np.float32:
            raise ValueError(f"waveform is {waveform.dtype} {waveform.shape}, not float32 (samples,)")
        needed = self.manifest.window_samples
        if len(waveform) < needed:
            raise AudioTooShort(len(waveform) / SAMPLE_RATE_HZ, needed / SAMPLE_RATE_HZ)
        usable = np.abs(waveform) <= _LARGEST_SAMPLE
        if not usable.all():
            raise InvalidSamples(int(len(waveform) - usable.sum()))

    def _check_golden(
        self, folder: Path, golden: list[tuple[Waveform, Embedding]], precision: Precision
    ) -> None:
        required, least_samples = LEAST_COSINE[precision], self.manifest.min_speech_s * SAMPLE_RATE_HZ
        if precision == "int8":
            # A clip of one window has no variation over time: what is left of it is mostly rounding.
            golden = [pair for pair in golden if len(pair[0]) >= least_samples] or golden
        try:
            self.golden_cosine = least_cosine(golden, self._run)
        except Exception as error:  # whatever the runtime raises on a graph that loads but does not run
            raise ModelInvalid(str(folder), f"the golden waveforms cannot be embedded: {error}") from error
        if not self.golden_cosine >= required:
            raise ModelInvalid(
                str(folder),
                f"on {self.provider} the golden vectors come out at cosine {self.golden_cosine:.4f}, "
                f"at least {required} is needed",
            )


def _checked_bytes(folder: Path, manifest: Manifest, precision: Precision) -> bytes:
    """The bytes of the file that serves: read once, so that what is hashed is what runs."""
    quantised = precision == "int8"
    path = folder / ("model.int8.onnx" if quantised else "model.onnx")
    expected = manifest.int8_sha256 if quantised else manifest.sha256
    if expected is None:
        raise ModelInvalid(str(folder), "it has no int8 file; set TIMBRE_PRECISION=fp32")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelInvalid(str(folder), f"{path.name} is missing or unreadable: {error.strerror}") from None
    found = sha256_of_bytes(data)
    if found != expected:
        problem = f"{path.name} has SHA-256 {found[:12]}…, manifest.json says {expected[:12]}…"
        raise ModelInvalid(str(folder), problem)
    metadata = inspect(data, path, quantised=quantised)
    if metadata.get(METADATA_KEY) != manifest.metadata_text():
        raise ModelInvalid(str(folder), f"the metadata inside {path.name} differ from manifest.json")
    return data


def _wrong_signature(session: Any, dim: int) -> str | None:
    """What of the graph's inputs and outputs breaks the contract, in words; None when they keep it."""
    ends = ((session.get_inputs(), "waveform", None), (session.get_outputs(), "embedding", dim))
    for found, name, width in ends:
        if [item.name for item in found] != [name]:
            return f"the graph has {[item.name for item in found]} where only '{name}' belongs"
        if found[0].type != "tensor(float)":
            return f"'{name}' is {found[0].type}, not tensor(float)"
        shape = [size if isinstance(size, int) else None for size in found[0].shape]
        if shape != [None, width]:
            return f"'{name}' has shape {found[0].shape}, not (batch, {width or 'samples'})"
    return None
