"""What goes into the repository and what comes out of it: frozen records, no SQL."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

from app.arrays import Embedding
from app.audio.fingerprint import Fingerprint

OnExisting: TypeAlias = Literal["append", "replace", "fail"]
"""What an enrolment does with a speaker that is there already."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Unset(Enum):
    """Tells "leave it as it is" from "set it to null" in an update."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, kw_only=True)
class NewEnrollment:
    """One accepted recording on its way into the store.

    Attributes:
        embedding: float32, shape (dim,), unit length.
        speech_s: Speech in the recording, seconds, above 0; its weight in the centroid.
        duration_s: Length of the recording, seconds.
        quality: In [0, 1].
        audio: The recording's AudioReport as a JSON object.
        audio_sha256: Lower-case hex digest of the uploaded bytes; tells a repeated clip.
        enrollment_id: Generated unless given.
        recording: The uploaded bytes, where they are to be kept.
        fingerprint: uint8, shape (frames, 8), by which the sound is known again.

    Raises:
        ValueError: On an embedding that is not finite and unit, on speech_s <= 0 or a bad digest.
    """

    embedding: Embedding
    speech_s: float
    duration_s: float
    quality: float
    audio: Mapping[str, Any]
    audio_sha256: str
    enrollment_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    recording: bytes | None = field(default=None, repr=False)
    fingerprint: Fingerprint | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.embedding.ndim != 1 or not abs(float(np.linalg.norm(self.embedding)) - 1.0) < 1e-3:
            raise ValueError("an enrollment needs a finite embedding of unit length, shape (dim,)")
        if not (self.speech_s > 0 and np.isfinite(self.speech_s)):
            raise ValueError("an enrollment needs more than 0 s of speech")
        if not _SHA256.fullmatch(self.audio_sha256):
            raise ValueError("audio_sha256 must be 64 lower-case hexadecimal digits")


@dataclass(frozen=True, kw_only=True)
class StoredEnrollment:
    """One enrollment row; it never changes once stored."""

    enrollment_id: str
    speaker_id: str
    model_id: str
    embedding: Embedding
    speech_s: float
    duration_s: float
    quality: float
    audio: dict[str, Any]
    audio_sha256: str
    created_at: datetime
    duplicate: bool = False
    """The clip was there already: this is the row that stood, nothing was added."""


@dataclass(frozen=True)
class Holding:
    """What a speaker has enrolled under one model."""

    model_id: str
    speech_s: float = 0.0
    enrollments_count: int = 0


class _Versioned(Protocol):
    """A speaker's row, or what was read of it."""

    @property
    def created_at(self) -> datetime: ...
    @property
    def version(self) -> int: ...


def edition_of(speaker: _Versioned) -> str:
    """Names a state of a speaker, in ASCII letters, digits and a hyphen.

    Who is enrolled anew under a name begins at version 1 again; the time of creation tells the two apart.
    """
    return f"{speaker.version}-{int(speaker.created_at.timestamp() * 1e6):x}"


@dataclass(frozen=True, kw_only=True)
class StoredSpeaker:
    """One speaker. `version` grows with every change of it, its enrollments included."""

    key: int
    tenant_id: str
    speaker_id: str
    display_name: str | None
    metadata: dict[str, Any]
    consent: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime
    version: int
    retain_until: datetime | None = None
    holdings: tuple[Holding, ...] = ()

    @property
    def edition(self) -> str:
        """See `edition_of`."""
        return edition_of(self)

    def held(self, model_id: str) -> Holding:
        """The holding under this model; zeros where there is none."""
        return next((h for h in self.holdings if h.model_id == model_id), Holding(model_id))


@dataclass(frozen=True)
class SpeakerPage:
    """One page of speakers in the order of their creation; `next_cursor` is None on the last."""

    speakers: tuple[StoredSpeaker, ...]
    next_cursor: str | None


class Lock(NamedTuple):
    """Failed verifications in a row, and until when no further one is tried."""

    failures: int
    locked_until: datetime | None


UNLOCKED: Final = Lock(0, None)


@dataclass(frozen=True, kw_only=True)
class StoredCentroid:
    """The centroid of a speaker under one model, as SQL holds it now."""

    speaker_key: int
    speaker_id: str
    embedding: Embedding
    speech_s: float
    enrollments_count: int
    version: int
    lock: Lock = UNLOCKED
    """Failed verifications of the speaker; read with the centroid of one speaker only."""


@dataclass(frozen=True, kw_only=True)
class EnrolledSpeaker:
    """The outcome of an enrolment.

    Attributes:
        speaker: The speaker after it, holdings included.
        enrollments: One for each recording given, in that order; `duplicate` marks repeated clips.
        centroid: The centroid after it.
        created: The speaker did not exist before.
    """

    speaker: StoredSpeaker
    enrollments: tuple[StoredEnrollment, ...]
    centroid: StoredCentroid
    created: bool


class Change(NamedTuple):
    """The present centroid of a speaker that changed; `embedding` None means: erase it."""

    speaker_key: int
    embedding: Embedding | None
    speech_s: float


class Changes(NamedTuple):
    """What changed in a gallery, and the version to ask from next time."""

    version: int
    changes: list[Change]


@dataclass(frozen=True, kw_only=True)
class StoredAuditEntry:
    """One entry of the audit log; `subject` is the digest that stands for a speaker."""

    number: int
    at: datetime
    actor: str
    action: str
    subject: str | None
    facts: dict[str, Any]
    request_id: str | None
    hash: str


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What was erased of a voice, when and why."""

    receipt_id: str
    subject: str
    reason: str
    enrollments: int
    recordings: int
    erased_at: datetime


@dataclass(frozen=True, kw_only=True)
class StoredTenant:
    """A tenant: what differs from the settings, and which models are its own."""

    tenant_id: str
    policy: dict[str, Any]
    model: str | None
    previous_model: str | None
    shadow_model: str | None
    created_at: datetime
    calibrations: Mapping[str, str] = field(default_factory=dict)
    """Ids of the calibrations that were applied, by model id."""


@dataclass(frozen=True, kw_only=True)
class StoredKey:
    """An API key without its secret."""

    key_id: str
    tenant_id: str
    label: str | None
    secret_sha256: str
    scopes: tuple[str, ...]
    rate_limit: str | None
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    replaced_by: str | None
