"""What is stored of a voice on its way into a row and out of it, sealed with the speaker's own key."""

import numpy as np

from app.arrays import Embedding
from app.audio.fingerprint import FORMAT, ROW, Fingerprint
from app.store.vault import Opener


def embedding_bytes(embedding: Embedding) -> bytes:
    """float32, shape (dim,) → little-endian bytes, four a value."""
    return np.asarray(embedding, dtype="<f4").tobytes()


def opened(opener: Opener, sealed: bytes, about: str) -> Embedding:
    """Sealed bytes → float32, shape (dim,), read-only."""
    return np.frombuffer(opener(sealed, about), dtype="<f4").astype(np.float32, copy=False)


def fingerprint_bytes(fingerprint: Fingerprint) -> bytes:
    """uint8, shape (frames, 8) → one byte for the format, then the rows."""
    return bytes([FORMAT]) + fingerprint.tobytes()


def opened_fingerprint(opener: Opener, sealed: bytes, about: str) -> Fingerprint | None:
    """Sealed bytes → uint8, shape (frames, 8), read-only; None when they are of another format."""
    data = opener(sealed, about)
    return np.frombuffer(data, np.uint8, offset=1).reshape(-1, ROW) if data[0] == FORMAT else None


def of_take(enrollment_id: str) -> str:
    """What the embedding of an enrollment is sealed for."""
    return f"enrollment {enrollment_id}"


def of_fingerprint(enrollment_id: str) -> str:
    """What the fingerprint of an enrollment is sealed for."""
    return f"fingerprint {enrollment_id}"


def of_heard(speaker_key: int) -> str:
    """What the fingerprints of recordings that were accepted as a speaker's are sealed for."""
    return f"heard {speaker_key}"


def of_centroid(speaker_key: int, model_id: str) -> str:
    """What a centroid is sealed for."""
    return f"centroid {speaker_key} {model_id}"


def of_recording(audio_sha256: str) -> str:
    """What a kept recording is sealed for."""
    return f"recording {audio_sha256}"
