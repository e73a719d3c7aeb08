"""Merging two speakers who turned out to be one person."""

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from app.errors import SpeakerNotFound
from app.store.audit import SERVICE, By, record
from app.store.database import erase_traces
from app.store.enrollments import keep_recording
from app.store.erasing import erase_voice
from app.store.ledger import Entry
from app.store.records import StoredSpeaker
from app.store.rows import is_expired, stored_speakers, touch
from app.store.sealing import of_fingerprint, of_heard, of_recording, of_take
from app.store.sessions import Sessions
from app.store.tables import Enrollment, HeardClip, Recording, Speaker
from app.store.writes import derive_centroids, lock_galleries, lock_speaker


class Merging(Sessions):
    """The repository's method on two speakers."""

    def merge_speakers(
        self, tenant_id: str, speaker_id: str, other_id: str, *, by: By = SERVICE
    ) -> StoredSpeaker:
        """Gives a speaker all recordings of another, who is deleted; all at once.

        Clips that both have count once. Name, metadata and consent stay the first speaker's.

        Args:
            tenant_id: Whose speakers.
            speaker_id: Who stays.
            other_id: Who goes.
            by: Who does it.

        Raises:
            SpeakerNotFound: One of them is not there.
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """
        merged = self._write(
            speaker_id, lambda session: self._merge(session, tenant_id, speaker_id, other_id, by)
        )
        erase_traces(self._engine)
        return merged

    def _merge(
        self,
        session: Session,
        tenant_id: str,
        speaker_id: str,
        other_id: str,
        by: By,
        again: Entry | None = None,
    ) -> StoredSpeaker:
        """The same in a transaction; `again` is what the ledger says of it."""
        galleries = lock_galleries(session, tenant_id)
        # In one order, so that two merges cannot wait for each other.
        rows = {name: lock_speaker(session, tenant_id, name) for name in sorted((speaker_id, other_id))}
        for name, row in rows.items():
            if row is None or is_expired(row):
                raise SpeakerNotFound(name)
        speaker, other = rows[speaker_id], rows[other_id]
        assert speaker is not None
        assert other is not None
        moved = self._copy(session, other, speaker)
        erase_voice(session, self._vault, other, galleries, "merge", by, into=speaker_id, again=again)
        session.delete(other)
        derive_centroids(session, self._vault, speaker, moved, galleries)
        touch(speaker)
        record(session, self._vault, tenant_id, by, "speaker.merged", speaker_id)
        return stored_speakers(session, [speaker])[0]

    def _copy(self, session: Session, source: Speaker, target: Speaker) -> set[str]:
        """Moves the rows over, sealed anew; returns the models that they are of."""
        assert target.data_key is not None
        opener = self._vault.opener(source.data_key)
        for kept in session.scalars(select(Recording).where(Recording.speaker_key == source.key)):
            data = opener(kept.sealed, of_recording(kept.audio_sha256))
            keep_recording(session, self._vault, target, kept.audio_sha256, data)
        for heard in session.scalars(select(HeardClip).where(HeardClip.speaker_key == source.key)):
            sound = opener(heard.fingerprint, of_heard(source.key))
            heard.fingerprint = self._vault.seal(target.data_key, sound, of_heard(target.key))
            heard.speaker_key = target.key
        standing = select(Enrollment.model_id, Enrollment.audio_sha256)
        there = {tuple(row) for row in session.execute(standing.where(Enrollment.speaker_key == target.key))}
        moved = set()
        takes = Enrollment.__table__
        for row in session.execute(select(takes).where(takes.c.speaker_key == source.key)).mappings().all():
            if (row["model_id"], row["audio_sha256"]) in there:
                continue
            again = dict(row) | {"speaker_key": target.key}
            for column, about in (("embedding", of_take), ("fingerprint", of_fingerprint)):
                if row[column] is not None:
                    what = about(row["enrollment_id"])
                    again[column] = self._vault.seal(target.data_key, opener(row[column], what), what)
            # Deleted and written again under the same id, because these rows are never changed.
            session.execute(delete(Enrollment).where(Enrollment.enrollment_id == row["enrollment_id"]))
            session.execute(insert(Enrollment).values(again))
            moved.add(row["model_id"])
        return moved
