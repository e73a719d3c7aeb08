"""Copies: a recording that was heard before, in whatever coding, is no proof that anybody speaks now."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from app.audio import Utterance
from app.audio.fingerprint import COPY, Fingerprint, find_copy
from app.service.call import Call
from app.service.explanation import Fact, Objection, Remark
from app.service.trace import stage
from app.store.heard import KnownSound
from app.store.records import StoredCentroid

Origin: TypeAlias = Literal["enrollment", "verification"]


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Whether a recording is a copy of an earlier one of the speaker."""

    checked: bool
    """False where the policy does not ask, and where there was nothing to compare with."""
    suspected: bool = False
    of: Origin | None = None
    """What it is a copy of."""
    enrollment_id: str | None = None
    similarity: float | None = None
    """In [0, 1]: how much of what was compared is equal; 1 for the same upload, about 0 for others."""
    seconds: float | None = None
    """How much was compared at the best place."""
    objection: Objection | None = None
    sound: Fingerprint | None = field(default=None, repr=False)
    """The recording's own fingerprint, where it is to be remembered once it was accepted."""


def look_for_copies(call: Call, utterance: Utterance, claimed: Sequence[int]) -> Replay:
    """Compare a recording with what these speakers have enrolled and with what was accepted as theirs.

    Args:
        call: Who asks, by which policy.
        utterance: The recording.
        claimed: Keys of the speakers; none where a recording is compared with another.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    if call.policy.replayed == "allow" or not claimed:
        return Replay(checked=False)
    with stage("store"):
        known = call.repository.known_sounds(call.tenant_id, claimed)
    found, similarity, seconds = _best(utterance, known)
    if found is None:
        return Replay(checked=False, sound=utterance.fingerprint)
    if similarity < COPY:
        return Replay(checked=True, similarity=similarity, seconds=seconds, sound=utterance.fingerprint)
    origin: Origin = "verification" if found.enrollment_id is None else "enrollment"
    return Replay(
        checked=True,
        suspected=True,
        of=origin,
        enrollment_id=found.enrollment_id,
        similarity=similarity,
        seconds=seconds,
        objection=Objection(_remark(origin, similarity, seconds), call.policy.replayed == "refuse"),
    )


def _best(utterance: Utterance, known: Sequence[KnownSound]) -> tuple[KnownSound | None, float, float]:
    """What the recording is most like, how much so, and over how many seconds."""
    for each in known:
        if each.audio_sha256 == utterance.sha256:
            return each, 1.0, utterance.report.duration_s
    sounds = [(each, each.fingerprint) for each in known if each.fingerprint is not None]
    likeness = find_copy(utterance.fingerprint, [fingerprint for _, fingerprint in sounds])
    if likeness is None:
        return None, 0.0, 0.0
    return sounds[likeness.place][0], max(0.0, likeness.similarity), likeness.seconds


def _remark(origin: Origin, similarity: float, seconds: float) -> Remark:
    earlier = "one that is enrolled" if origin == "enrollment" else "one that was accepted lately"
    words = f"The recording is a copy of {earlier}, or holds a part of it: {similarity:.2f} of 1 alike."
    facts: dict[str, Fact] = {
        "of": origin,
        "similarity": round(similarity, 4),
        "seconds": round(seconds, 3),
        "least": COPY,
    }
    return Remark("replayed_recording", words, facts)


def note_replay(call: Call, known: StoredCentroid, replay: Replay, *, accepted: bool) -> None:
    """Write a suspicion into the audit log, and remember what was accepted without one.

    Args:
        call: Who asks, by which policy.
        known: The speaker who was claimed.
        replay: What was found.
        accepted: The verification was.

    Raises:
        ConcurrentModification: Others were first every time.
        StorageUnavailable: The database does not answer.
    """
    most = call.settings.replay_memory
    with stage("store"):
        if replay.suspected:
            call.repository.append_audit(
                call.tenant_id,
                call.by,
                "voice.replay_suspected",
                known.speaker_id,
                of=replay.of,
                similarity=round(replay.similarity or 0.0, 2),
                refused=not accepted,
            )
        elif accepted and most and replay.sound is not None and len(replay.sound):
            call.repository.remember_sound(call.tenant_id, known.speaker_key, replay.sound, most)
