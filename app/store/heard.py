"""Fingerprints of recordings known of a speaker: of what was enrolled, and of what was accepted lately."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final, cast

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from app.audio.fingerprint import Fingerprint
from app.store.sealing import fingerprint_bytes, of_fingerprint, of_heard, opened_fingerprint
from app.store.sessions import Sessions
from app.store.tables import Enrollment, HeardClip, Speaker

_CLIPS: Final = cast(Table, HeardClip.__table__)
"""Written with each verification that is accepted, so without the costs of the mapped class."""


@dataclass(frozen=True)
class KnownSound:
    """A recording that was heard before."""

    fingerprint: Fingerprint | None
    """None where the row is older than fingerprints, or theirs is of another format."""
    enrollment_id: str | None = None
    """None: it was accepted in a verification."""
    audio_sha256: str | None = None
    """Hash of the upload, where it is known."""


class HeardClips(Sessions):
    """The repository's methods on recordings that were heard before."""

    def known_sounds(self, tenant_id: str, speaker_keys: Sequence[int]) -> list[KnownSound]:
        """Reads what is known of these speakers: what they enrolled, then what was accepted as theirs.

        A recording that several models have heard is there once.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        enrolled = (
            select(
                Speaker.data_key, Enrollment.enrollment_id, Enrollment.audio_sha256, Enrollment.fingerprint
            )
            .join(Speaker, Speaker.key == Enrollment.speaker_key)
            .where(Speaker.tenant_id == tenant_id, Speaker.key.in_(speaker_keys))
            .order_by(Enrollment.fingerprint.is_(None), Enrollment.created_at)
        )
        accepted = (
            select(Speaker.key, Speaker.data_key, HeardClip.fingerprint)
            .join(Speaker, Speaker.key == HeardClip.speaker_key)
            .where(Speaker.tenant_id == tenant_id, Speaker.key.in_(speaker_keys))
            .order_by(HeardClip.key)
        )
        clips: dict[str, KnownSound] = {}
        opener = cache(self._vault.opener)  # a key for each speaker, and many rows under it

        def sound(data_key: bytes | None, sealed: bytes | None, about: str) -> Fingerprint | None:
            return None if sealed is None else opened_fingerprint(opener(data_key), sealed, about)

        with self._reading() as session:
            for data_key, enrollment_id, sha256, sealed in session.execute(enrolled):
                if sha256 not in clips:
                    found = sound(data_key, sealed, of_fingerprint(enrollment_id))
                    clips[sha256] = KnownSound(found, enrollment_id, sha256)
            heard = [
                KnownSound(sound(data_key, sealed, of_heard(who)))
                for who, data_key, sealed in session.execute(accepted)
            ]
        return [*clips.values(), *heard]

    def remember_sound(self, tenant_id: str, speaker_key: int, fingerprint: Fingerprint, most: int) -> None:
        """Stores the fingerprint of a recording that was accepted, and forgets all but the newest.

        Args:
            tenant_id: Whose speaker.
            speaker_key: Who was accepted; one who was deleted meanwhile is left alone.
            fingerprint: Of the recording.
            most: How many are kept of the speaker.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> None:
            # Held, so that no erasure comes between the key that it is sealed with and the row.
            mine = Speaker.tenant_id == tenant_id, Speaker.key == speaker_key
            data_key = session.scalar(select(Speaker.data_key).where(*mine).with_for_update())
            if data_key is None:
                return
            sealed = self._vault.seal(data_key, fingerprint_bytes(fingerprint), of_heard(speaker_key))
            row = {"speaker_key": speaker_key, "fingerprint": sealed, "heard_at": datetime.now(UTC)}
            session.execute(_CLIPS.insert().values(row))
            heard = _CLIPS.c.speaker_key == speaker_key
            newest = select(_CLIPS.c.key).where(heard).order_by(_CLIPS.c.key.desc()).limit(most)
            session.execute(_CLIPS.delete().where(heard, _CLIPS.c.key.not_in(newest)))

        self._write("", work)
