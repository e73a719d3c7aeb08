"""Embeddings on their way into a row and out of it: float32 values, sealed with the speaker's own key."""

import numpy as np

from app.arrays import Embedding
from app.store.vault import Opener


def embedding_bytes(embedding: Embedding) -> bytes:
    """float32, shape (dim,) → little-endian bytes, four a value."""
    return np.asarray(embedding, dtype="<f4").tobytes()


def opened(opener: Opener, sealed: bytes, about: str) -> Embedding:
    """Sealed bytes → float32, shape (dim,), read-only."""
    return np.frombuffer(opener(sealed, about), dtype="<f4").astype(np.float32, copy=False)


def of_take(enrollment_id: str) -> str:
    """What the embedding of an enrollment is sealed for."""
    return f"enrollment {enrollment_id}"


def of_centroid(speaker_key: int, model_id: str) -> str:
    """What a centroid is sealed for."""
    return f"centroid {speaker_key} {model_id}"


def of_recording(audio_sha256: str) -> str:
    """What a kept recording is sealed for."""
    return f"recording {audio_sha256}"
