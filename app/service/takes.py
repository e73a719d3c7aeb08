"""Takes: the recordings of one enrolment, each heard and judged; and how well takes agree."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.arrays import Embedding
from app.errors import AudioRefused, TimbreError
from app.scoring import centroid, cosine
from app.service.call import Call
from app.service.doubts import doubts_about
from app.service.listening import Heard, listen, placed
from app.store.records import StoredEnrollment


@dataclass(frozen=True, kw_only=True)
class Take:
    """One recording: heard and accepted, or refused."""

    recording: bytes
    """The upload, container and all."""
    heard: Heard | None
    """None when it is refused."""
    refusal: TimbreError | None
    warnings: tuple[TimbreError, ...] = ()
    """What speaks against it and was let pass."""
    duplicate: bool = False
    """The same upload was enrolled before, or stands earlier in the request."""


def judge(
    call: Call, recordings: Sequence[bytes], speaker_id: str | None, before: Sequence[StoredEnrollment]
) -> list[Take]:
    """Hear each recording and judge it beside those that were accepted before it.

    Args:
        call: Who asks, by which policy.
        recordings: The uploads, in the order of the request.
        speaker_id: Whom they are to be enrolled as; None for somebody new.
        before: What the speaker has enrolled.

    Returns:
        One take for each recording; a refusal names its place in the request.

    Raises:
        Unavailable: The model or the database cannot answer now.
    """
    known = {row.audio_sha256 for row in before}
    accepted: list[StoredEnrollment | Heard] = list(before)
    takes = []
    for number, recording in enumerate(recordings):
        take = _judged(call, recording, number, speaker_id, accepted, known)
        if take.heard is not None and not take.duplicate:
            known.add(take.heard.utterance.sha256)
            accepted.append(take.heard)
        takes.append(take)
    return takes


def _judged(
    call: Call,
    recording: bytes,
    number: int,
    speaker_id: str | None,
    accepted: Sequence[StoredEnrollment | Heard],
    known: set[str],
) -> Take:
    where = {"file": number}
    try:
        with placed(**where):
            heard = listen(call, recording)
    except AudioRefused as refusal:
        return Take(recording=recording, heard=None, refusal=refusal)
    if heard.utterance.sha256 in known:
        return Take(recording=recording, heard=heard, refusal=None, duplicate=True)
    doubted = doubts_about(call, heard, speaker_id, accepted)
    if doubted.refusal is not None:
        doubted.refusal.where = where
        return Take(recording=recording, heard=None, refusal=doubted.refusal, warnings=doubted.warnings)
    return Take(recording=recording, heard=heard, refusal=None, warnings=doubted.warnings)


def consistency_of(takes: Sequence[StoredEnrollment]) -> float | None:
    """How well the takes of a speaker agree: mean cosine to their centroid; None with fewer than two."""
    return agreement([(take.embedding, take.speech_s) for take in takes])


def agreement(voices: Sequence[tuple[Embedding, float]]) -> float | None:
    """The same for embeddings with their seconds of speech."""
    if len(voices) < 2:
        return None
    embeddings = np.stack([embedding for embedding, _ in voices])
    centre = centroid(embeddings, [speech_s for _, speech_s in voices])
    return float(np.mean([cosine(embedding, centre) for embedding in embeddings]))
