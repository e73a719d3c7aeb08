"""Disclosure: everything that is stored of one speaker, for the person behind the voice."""

import base64
from dataclasses import dataclass

from app.service.call import Call
from app.service.speakers import Takes, list_enrollments
from app.service.trace import stage
from app.store.records import Receipt, StoredAuditEntry

_PAGE = 1000


@dataclass(frozen=True)
class Disclosure:
    """What is known of a speaker; embeddings are not in it, they never leave the service."""

    takes: Takes
    recordings: dict[str, str]
    """Kept uploads in base64, by enrollment id."""
    audit: tuple[StoredAuditEntry, ...]
    erasures: tuple[Receipt, ...]


def disclose(call: Call, speaker_id: str, *, include_audio: bool) -> Disclosure:
    """Gather what is stored of one speaker.

    Args:
        call: Who asks.
        speaker_id: Whose.
        include_audio: The kept recordings too.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        SpeakerNotFound: Nobody has the id.
        StorageUnavailable: The database does not answer.
    """
    takes = list_enrollments(call, speaker_id)
    with stage("store"):
        entries: list[StoredAuditEntry] = []
        cursor: str | None = None
        while True:
            page, cursor = call.repository.list_audit(
                call.tenant_id, cursor=cursor, limit=_PAGE, speaker_id=speaker_id
            )
            entries += page
            if cursor is None:
                break
        receipts, _ = call.repository.list_erasures(call.tenant_id, speaker_id, cursor=None, limit=_PAGE)
        recordings = _recordings(call, takes) if include_audio else {}
        call.repository.append_audit(call.tenant_id, call.by, "speaker.disclosed", speaker_id)
    return Disclosure(takes, recordings, tuple(entries), tuple(receipts))


def _recordings(call: Call, takes: Takes) -> dict[str, str]:
    speaker_id = takes.speaker.speaker.speaker_id
    clips = [take.audio_sha256 for take in takes.enrollments]
    by_clip = dict(call.repository.recordings_of(call.tenant_id, speaker_id, clips))
    return {
        take.enrollment_id: base64.b64encode(by_clip[take.audio_sha256]).decode()
        for take in takes.enrollments
        if take.audio_sha256 in by_clip
    }
