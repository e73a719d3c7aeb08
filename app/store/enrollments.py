"""Enrollments: add, list, delete. Rows come and go; none is ever changed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.errors import EnrollmentNotFound, SpeakerExists, SpeakerNotFound
from app.store.centroids import find_centroid
from app.store.database import erase_traces
from app.store.records import EnrolledSpeaker, NewEnrollment, OnExisting, StoredEnrollment, StoredSpeaker
from app.store.sessions import Sessions
from app.store.speakers import find_speaker, stored_speakers, touch
from app.store.tables import Enrollment, Speaker
from app.store.writes import check_storable, derive_centroids, drop_enrollments, lock_galleries, lock_speaker


class Enrollments(Sessions):
    """The repository's methods on enrollments."""

    def add_enrollments(
        self,
        tenant_id: str,
        speaker_id: str,
        model_id: str,
        rows: Sequence[NewEnrollment],
        *,
        on_existing: OnExisting = "append",
        display_name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        consent: Mapping[str, Any] | None = None,
    ) -> EnrolledSpeaker:
        """Enrolls recordings, creating the speaker when it is new: all of them or none.

        A clip that the speaker has already (same audio_sha256, same model) is not stored
        twice; the answer shows the row that stands and marks it as a duplicate.

        Args:
            tenant_id: Whose speaker.
            speaker_id: The speaker's name.
            model_id: The model that made the embeddings.
            rows: The recordings, at least one.
            on_existing: With a speaker that exists: `append` to its recordings, `replace` all of
                them, those of other models included, or `fail`.
            display_name: Sets the name; None leaves it.
            metadata: Sets the whole metadata; None leaves it.
            consent: Sets the record of consent; None leaves it.

        Raises:
            SpeakerExists: The speaker exists and on_existing is `fail`.
            ConcurrentModification: Others were first every time.
            ValidationFailed: A value cannot be stored.
            StorageUnavailable: The database does not answer; nothing was stored.
            ValueError: There are no rows.
        """
        if not rows:
            raise ValueError("an enrollment needs at least one recording")
        known = {"display_name": display_name, "details": metadata, "consent": consent}
        given = {name: value for name, value in known.items() if value is not None}
        for name, value in given.items():
            check_storable("metadata" if name == "details" else name, value)

        def work(session: Session) -> EnrolledSpeaker:
            replacing = on_existing == "replace"
            # Replacing touches the galleries of every model that knows the speaker.
            galleries = lock_galleries(session, tenant_id) if replacing else {}
            galleries |= lock_galleries(session, tenant_id, model_id)
            speaker, created = _speaker_for(session, tenant_id, speaker_id, on_existing)
            touched = drop_enrollments(session, speaker.key) if replacing and not created else set()
            stored = _insert(session, speaker, model_id, rows)
            if not all(enrollment.duplicate for enrollment in stored):
                touched |= {model_id}
            derive_centroids(session, speaker.key, touched, galleries)
            for name, value in given.items():
                setattr(speaker, name, value)
            if not created and (touched or given):
                touch(speaker)
            centroid = find_centroid(session, tenant_id, model_id, speaker_id)
            assert centroid is not None  # the speaker has at least one recording now
            return EnrolledSpeaker(
                speaker=stored_speakers(session, [speaker])[0],
                enrollments=tuple(stored),
                centroid=centroid,
                created=created,
            )

        enrolled = self._write(speaker_id, work)
        if on_existing == "replace" and not enrolled.created:
            erase_traces(self._engine)
        return enrolled

    def list_enrollments(
        self, tenant_id: str, speaker_id: str, model_id: str | None = None
    ) -> list[StoredEnrollment]:
        """Reads a speaker's enrollments, the oldest first; of one model when it is named.

        Raises:
            SpeakerNotFound: There is none of that name.
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            speaker = find_speaker(session, tenant_id, speaker_id)
            query = select(Enrollment).where(Enrollment.speaker_key == speaker.key)
            if model_id is not None:
                query = query.where(Enrollment.model_id == model_id)
            query = query.order_by(Enrollment.created_at, Enrollment.enrollment_id)
            return [_stored(row, speaker_id) for row in session.scalars(query)]

    def delete_enrollment(self, tenant_id: str, speaker_id: str, enrollment_id: str) -> StoredSpeaker:
        """Takes one recording back; the centroid follows. The speaker stays, even without any.

        Returns:
            The speaker after it.

        Raises:
            SpeakerNotFound: There is no speaker of that name.
            EnrollmentNotFound: The speaker has no such enrollment.
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> StoredSpeaker:
            # The model of a row never changes, so it may be read before the locks are taken.
            model_id = session.scalar(
                select(Enrollment.model_id).where(Enrollment.enrollment_id == enrollment_id)
            )
            galleries = lock_galleries(session, tenant_id, model_id) if model_id is not None else {}
            speaker = lock_speaker(session, tenant_id, speaker_id)
            if speaker is None:
                raise SpeakerNotFound(speaker_id)
            gone = session.scalar(
                delete(Enrollment)
                .where(Enrollment.enrollment_id == enrollment_id, Enrollment.speaker_key == speaker.key)
                .returning(Enrollment.model_id)
            )
            if gone is None:
                raise EnrollmentNotFound(speaker_id, enrollment_id)
            derive_centroids(session, speaker.key, {gone}, galleries)
            touch(speaker)
            return stored_speakers(session, [speaker])[0]

        speaker = self._write(speaker_id, work)
        erase_traces(self._engine)
        return speaker


def _speaker_for(
    session: Session, tenant_id: str, speaker_id: str, on_existing: OnExisting
) -> tuple[Speaker, bool]:
    """The locked speaker of an enrolment, and whether it was created for it."""
    speaker = lock_speaker(session, tenant_id, speaker_id)
    if speaker is not None:
        if on_existing == "fail":
            raise SpeakerExists(speaker_id)
        return speaker, False
    now = datetime.now(UTC)
    speaker = Speaker(
        tenant_id=tenant_id, speaker_id=speaker_id, details={}, created_at=now, updated_at=now, version=1
    )
    session.add(speaker)
    session.flush()  # gives the key, or shows that another writer has created the speaker
    return speaker, True


def _insert(
    session: Session, speaker: Speaker, model_id: str, rows: Sequence[NewEnrollment]
) -> list[StoredEnrollment]:
    """Stores the recordings that are new and answers for each one given, in that order."""
    standing = select(Enrollment).where(
        Enrollment.speaker_key == speaker.key,
        Enrollment.model_id == model_id,
        Enrollment.audio_sha256.in_([row.audio_sha256 for row in rows]),
    )
    by_clip = {row.audio_sha256: row for row in session.scalars(standing)}
    now, stored = datetime.now(UTC), []
    for place, new in enumerate(rows):
        duplicate = new.audio_sha256 in by_clip
        if not duplicate:
            # A microsecond apart, so that the takes of one request keep their order.
            moment = now + timedelta(microseconds=place)
            by_clip[new.audio_sha256] = _row(speaker, model_id, new, moment)
            session.add(by_clip[new.audio_sha256])
        stored.append(_stored(by_clip[new.audio_sha256], speaker.speaker_id, duplicate=duplicate))
    session.flush()
    return stored


def _row(speaker: Speaker, model_id: str, new: NewEnrollment, created_at: datetime) -> Enrollment:
    return Enrollment(
        enrollment_id=new.enrollment_id,
        speaker_key=speaker.key,
        model_id=model_id,
        embedding=new.embedding,
        speech_s=new.speech_s,
        duration_s=new.duration_s,
        quality=new.quality,
        audio=dict(new.audio),
        audio_sha256=new.audio_sha256,
        created_at=created_at,
    )


def _stored(row: Enrollment, speaker_id: str, *, duplicate: bool = False) -> StoredEnrollment:
    return StoredEnrollment(
        enrollment_id=row.enrollment_id,
        speaker_id=speaker_id,
        model_id=row.model_id,
        embedding=row.embedding,
        speech_s=row.speech_s,
        duration_s=row.duration_s,
        quality=row.quality,
        audio=row.audio,
        audio_sha256=row.audio_sha256,
        created_at=row.created_at,
        duplicate=duplicate,
    )
