"""Recordings for the store: any unit vector will do."""

import hashlib
from typing import Any

import numpy as np

from app.arrays import Embedding
from app.scoring import unit
from app.store import NewEnrollment, Vault

TENANT, MODEL, OTHER_MODEL = "default", "timbre-1@0123456789ab", "timbre-2@ba9876543210"
DIM = 192
VAULT = Vault(bytes(range(32)), "the tests' key")


def voice(seed: int, dim: int = DIM) -> Embedding:
    return unit(np.random.default_rng(seed).standard_normal(dim))


def take(seed: int, *, speech_s: float = 2.5, **changes: Any) -> NewEnrollment:
    """One recording; the same seed makes the same clip."""
    fields: dict[str, Any] = {
        "embedding": voice(seed),
        "speech_s": speech_s,
        "duration_s": speech_s + 0.5,
        "quality": 0.9,
        "audio": {"duration_s": speech_s + 0.5, "codec": "flac", "warnings": ["narrowband"]},
        "audio_sha256": hashlib.sha256(b"clip %d" % seed).hexdigest(),
    }
    return NewEnrollment(**(fields | changes))
