"""One file of a model in a session, refused unless everything about it is right."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from app.arrays import SAMPLE_RATE_HZ, Embedding, Waveform
from app.embedder.golden import Golden, least_cosine
from app.embedder.manifest import METADATA_KEY, Manifest, Precision, file_bytes, sha256_of_bytes
from app.embedder.onnx_file import inspect
from app.embedder.session import QUIET, Provider, open_session
from app.errors import ModelInvalid, ProviderUnavailable

LEAST_COSINE: Final = {"fp32": 0.999, "int8": 0.99}
"""Cosine with which a file must reproduce the golden vectors. Another provider's rounding costs below 1e-4;
eight bits are an approximation by intent, so they are asked for less, and only where there is speech enough
to be compared (`min_speech_s`)."""
LONGEST_GOLDEN_S: Final = 60.0
"""For all golden waveforms together: what takes longer could serve nobody."""


class LoadedFile:
    """One file of a model, ready to run.

    Attributes:
        precision: Which file it is.
        provider: The ONNX Runtime provider that really runs, e.g. "CPUExecutionProvider".
        golden_cosine: Least cosine between the golden vectors and what this provider made of them.
    """

    precision: Precision
    provider: str
    golden_cosine: float

    def __init__(self, manifest: Manifest, precision: Precision, session: Any) -> None:
        self.precision = precision
        self.provider = session.get_providers()[0]
        self.golden_cosine = 0.0
        self._model_id, self._session = manifest.model_id, session

    def run(self, waveform: Waveform, options: Any = None) -> Embedding:
        """Embed one waveform in the calling thread.

        Args:
            waveform: float32, shape (samples,), at least one analysis window, 16 kHz mono, [-1, 1].
            options: The onnxruntime.RunOptions through which the run can be stopped.

        Returns:
            Embedding, float32, shape (dim,), unit length.

        Raises:
            ArithmeticError: The graph gave something that has no unit length.
        """
        rows = self._session.run(["embedding"], {"waveform": waveform[None, :]}, options)[0]
        embedding: Embedding = rows[0]
        # NaN fails the comparison too. Nothing that is no unit vector may reach the gallery.
        if not abs(float(np.linalg.norm(embedding)) - 1.0) < 1e-3:
            raise ArithmeticError(f"{self._model_id} gave an embedding that has no unit length")
        return embedding


def load_file(
    folder: Path, manifest: Manifest, golden: Golden, precision: Precision, provider: Provider
) -> LoadedFile:
    """Load one file of a model folder.

    Args:
        folder: The model's folder.
        manifest: Its manifest.
        golden: Its golden vectors.
        precision: Which file.
        provider: Where it runs; see `app.embedder.session.open_session`.

    Returns:
        The file in a session, with `golden_cosine` measured.

    Raises:
        ModelInvalid: The file is missing or changed, breaks the contract, or does not reproduce the golden
            vectors.
        ProviderUnavailable: CUDA was asked for and does not run.
    """
    session = opened(folder, checked_bytes(folder, manifest, precision), provider)
    problem = _wrong_signature(session, manifest.dim)
    if problem:
        raise ModelInvalid(str(folder), problem)
    loaded = LoadedFile(manifest, precision, session)
    if precision == "int8":
        # A clip of one window has no variation over time: what is left of it is mostly rounding.
        least_samples = manifest.min_speech_s * SAMPLE_RATE_HZ
        golden = [pair for pair in golden if len(pair[0]) >= least_samples] or golden
    loaded.golden_cosine = checked_golden(
        folder, golden, loaded.run, LEAST_COSINE[precision], loaded.provider
    )
    return loaded


def checked_bytes(folder: Path, manifest: Manifest, precision: Precision) -> bytes:
    """The bytes of the file that serves: read once, so that what is hashed is what runs."""
    entry = manifest.file_of(precision)
    if entry is None:
        raise ModelInvalid(str(folder), f"it has no {precision} file; set TIMBRE_PRECISION=auto")
    path = folder / entry.file
    data = file_bytes(folder, entry.file)
    found = sha256_of_bytes(data)
    if found != entry.sha256:
        problem = f"{path.name} has SHA-256 {found[:12]}…, manifest.json says {entry.sha256[:12]}…"
        raise ModelInvalid(str(folder), problem)
    metadata = inspect(data, path, quantised=precision == "int8")
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


def opened(folder: Path, data: bytes, provider: Provider) -> Any:
    """The session over the bytes of a folder's file; raises ModelInvalid or ProviderUnavailable."""
    try:
        return open_session(data, provider)
    except ProviderUnavailable:
        raise
    except Exception as error:  # ONNX Runtime's own, which have no common ancestor
        raise ModelInvalid(str(folder), f"the graph cannot be loaded: {error}") from error


def checked_golden(
    folder: Path,
    golden: Golden,
    run: Callable[[Waveform, Any], Embedding],
    required: float,
    provider: str,
) -> float:
    """Let a model reproduce its golden vectors.

    Args:
        folder: The model's folder.
        golden: Its golden vectors.
        run: Waveform and onnxruntime.RunOptions → vector.
        required: Least cosine that is good enough.
        provider: What runs it, for the message.

    Returns:
        The least cosine that was found.

    Raises:
        ModelInvalid: It is too low, the model fails, or it does not end.
    """
    cosine = _within(LONGEST_GOLDEN_S, lambda options: least_cosine(golden, lambda w: run(w, options)))
    if cosine is None:
        problem = f"embedding the golden waveforms takes longer than {LONGEST_GOLDEN_S:g} s"
        raise ModelInvalid(str(folder), problem)
    if isinstance(cosine, Exception):  # whatever the runtime raises on a graph that loads but does not run
        raise ModelInvalid(str(folder), f"the golden waveforms cannot be embedded: {cosine}") from cosine
    if not cosine >= required:
        problem = f"on {provider} the golden vectors come out at cosine {cosine:.4f}"
        raise ModelInvalid(str(folder), f"{problem}, at least {required} is needed")
    return cosine


def _within(limit_s: float, run: Callable[[Any], float]) -> float | Exception | None:
    """What a run comes to, or what it raises; None when it is not done in time.

    ONNX Runtime stops between operators only. One that is caught in a loop of the graph goes on in a thread
    that nobody waits for, until the process ends.
    """
    options = ort.RunOptions()
    options.log_severity_level = QUIET
    found: list[float | Exception] = []

    def running() -> None:
        try:
            found.append(run(options))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=running, name="timbre-golden", daemon=True)
    thread.start()
    thread.join(limit_s)
    if not found:
        options.terminate = True
        return None
    return found[0]
