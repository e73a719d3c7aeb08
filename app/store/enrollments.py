"""Enrollments: add, list, delete. Rows come and go; none is ever changed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.arrays import Embedding
from app.errors import EnrollmentNotFound, SpeakerExists, SpeakerNotFound, SpeakerOptedOut
from app.failpoints import reach
from app.store.audit import SERVICE, By, record
from app.store.centroids import find_centroid
from app.store.database import erase_traces
from app.store.erasing import erase_voice, take_back
from app.store.records import EnrolledSpeaker, NewEnrollment, OnExisting, StoredEnrollment, StoredSpeaker
from app.store.rows import find_speaker, is_expired, stored_speakers, touch, unexpired
from app.store.sealing import (
    embedding_bytes,
    fingerprint_bytes,
    of_fingerprint,
    of_recording,
    of_take,
    opened,
)
from app.store.sessions import Sessions
from app.store.tables import Enrollment, Gallery, OptOut, Recording, Speaker
from app.store.vault import Vault
from app.store.writes import check_storable, derive_centroids, lock_galleries, lock_speaker


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
        retain_until: datetime | None = None,
        retain_new_until: datetime | None = None,
        by: By = SERVICE,
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
            retain_until: Sets when the speaker is deleted; None leaves it.
            retain_new_until: The same for a speaker who is new, unless `retain_until` is given.
            by: Who does it.

        Raises:
            SpeakerOptedOut: The speaker objected; this outlives a deletion.
            SpeakerExists: The speaker exists and on_existing is `fail`.
            ConcurrentModification: Others were first every time.
            ValidationFailed: A value cannot be stored.
            StorageUnavailable: The database does not answer; nothing was stored.
            ValueError: There are no rows.
        """
        if not rows:
            raise ValueError("an enrollment needs at least one recording")
        given = _given(display_name, metadata, consent, retain_until)

        def work(session: Session) -> EnrolledSpeaker:
            # Replacing touches the galleries of every model that knows the speaker, and so does an
            # enrollment of somebody whose time to be kept is over: nothing old may come back with it.
            galleries = lock_galleries(session, tenant_id)
            if model_id not in galleries:
                galleries |= lock_galleries(session, tenant_id, model_id)
            self._refuse_opted_out(session, tenant_id, speaker_id)
            speaker, created = self._speaker_for(session, tenant_id, speaker_id, on_existing, galleries, by)
            stored = insert_takes(session, self._vault, speaker, model_id, rows)
            reach("enroll.rows_written")
            fresh = sum(not enrollment.duplicate for enrollment in stored)
            derive_centroids(session, self._vault, speaker, {model_id} if fresh else set(), galleries)
            # Now, because the time to be kept may be over in a moment, by what is set below.
            centroid = find_centroid(session, self._vault, tenant_id, model_id, speaker_id)
            assert centroid is not None  # the speaker has at least one recording now
            if created:
                speaker.retain_until = retain_new_until
            for name, value in given.items():
                setattr(speaker, name, value)
            if not created and (fresh or given):
                touch(speaker)
            if fresh or created or given:
                facts = {"enrollments": fresh, "created": created, "consent": consent is not None}
                record(session, self._vault, tenant_id, by, "speaker.enrolled", speaker_id, facts)
                reach("enroll.audited")
            return EnrolledSpeaker(
                speaker=stored_speakers(session, [speaker])[0],
                enrollments=tuple(stored),
                centroid=centroid,
                created=created,
            )

        enrolled = self._write(speaker_id, work, point="enroll")
        if on_existing == "replace" and not enrolled.created:
            erase_traces(self._engine)
        return enrolled

    def owners_of_clip(self, tenant_id: str, audio_sha256: str) -> list[str]:
        """Names the speakers who have enrolled exactly this upload.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        query = select(Speaker.speaker_id).join(Enrollment, Enrollment.speaker_key == Speaker.key).distinct()
        query = query.where(
            Speaker.tenant_id == tenant_id, Enrollment.audio_sha256 == audio_sha256, unexpired()
        )
        with self._reading() as session:
            return sorted(session.scalars(query))

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
            opener = self._vault.opener(speaker.data_key)
            return [
                _stored(row, speaker_id, opened(opener, row.embedding, of_take(row.enrollment_id)))
                for row in session.scalars(query)
            ]

    def delete_enrollment(
        self, tenant_id: str, speaker_id: str, enrollment_id: str, *, by: By = SERVICE
    ) -> StoredSpeaker:
        """Takes one recording back, from every model that heard it; the centroids follow.

        The speaker stays, even without any.

        Returns:
            The speaker after it.

        Raises:
            SpeakerNotFound: There is no speaker of that name.
            EnrollmentNotFound: The speaker has no such enrollment.
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> StoredSpeaker:
            galleries = lock_galleries(session, tenant_id)  # other models may have heard the clip as well
            speaker = lock_speaker(session, tenant_id, speaker_id)
            if speaker is None:
                raise SpeakerNotFound(speaker_id)
            named = Enrollment.enrollment_id == enrollment_id
            if not take_back(session, self._vault, speaker, galleries, named, by):
                raise EnrollmentNotFound(speaker_id, enrollment_id)
            reach("take_back.audited")
            return stored_speakers(session, [speaker])[0]

        speaker = self._write(speaker_id, work, point="take_back")
        erase_traces(self._engine)
        reach("take_back.traces_gone")
        return speaker

    def _refuse_opted_out(self, session: Session, tenant_id: str, speaker_id: str) -> None:
        if session.get(OptOut, (tenant_id, self._vault.subject(tenant_id, speaker_id))) is not None:
            raise SpeakerOptedOut(speaker_id)

    def _speaker_for(
        self,
        session: Session,
        tenant_id: str,
        speaker_id: str,
        on_existing: OnExisting,
        galleries: Mapping[str, Gallery],
        by: By,
    ) -> tuple[Speaker, bool]:
        """The locked speaker of an enrolment, emptied where that is asked, and whether it is new."""
        speaker = lock_speaker(session, tenant_id, speaker_id)
        if speaker is None:
            return new_speaker(session, self._vault, tenant_id, speaker_id), True
        if is_expired(speaker):
            erase_voice(session, self._vault, speaker, galleries, "retention", by)
            speaker.display_name, speaker.details, speaker.consent = None, {}, None
            speaker.retain_until, speaker.created_at = None, datetime.now(UTC)
            return speaker, True
        if on_existing == "fail":
            raise SpeakerExists(speaker_id)
        if on_existing == "replace":
            erase_voice(session, self._vault, speaker, galleries, "replace", by)
        return speaker, False


def new_speaker(session: Session, vault: Vault, tenant_id: str, speaker_id: str) -> Speaker:
    """The row of a new speaker, with a data key of its own."""
    now = datetime.now(UTC)
    speaker = Speaker(
        tenant_id=tenant_id,
        speaker_id=speaker_id,
        details={},
        data_key=vault.new_data_key(),
        created_at=now,
        updated_at=now,
        version=1,
    )
    session.add(speaker)
    session.flush()  # gives the key, or shows that another writer has created the speaker
    return speaker


def insert_takes(
    session: Session, vault: Vault, speaker: Speaker, model_id: str, rows: Sequence[NewEnrollment]
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
            by_clip[new.audio_sha256] = _row(vault, speaker, model_id, new, moment)
            session.add(by_clip[new.audio_sha256])
        if new.recording is not None:
            keep_recording(session, vault, speaker, new.audio_sha256, new.recording)
        row = by_clip[new.audio_sha256]
        stored.append(_stored(row, speaker.speaker_id, new.embedding, duplicate=duplicate))
    session.flush()
    return stored


def keep_recording(
    session: Session, vault: Vault, speaker: Speaker, audio_sha256: str, recording: bytes
) -> None:
    """Stores an upload, sealed, unless it is there."""
    if session.get(Recording, (speaker.key, audio_sha256)) is None:
        assert speaker.data_key is not None
        sealed = vault.seal(speaker.data_key, recording, of_recording(audio_sha256))
        row = Recording(speaker_key=speaker.key, audio_sha256=audio_sha256, sealed=sealed)
        row.created_at = datetime.now(UTC)
        session.add(row)
        session.flush()


def _row(
    vault: Vault, speaker: Speaker, model_id: str, new: NewEnrollment, created_at: datetime
) -> Enrollment:
    assert speaker.data_key is not None
    sound = None
    if new.fingerprint is not None:
        about = of_fingerprint(new.enrollment_id)
        sound = vault.seal(speaker.data_key, fingerprint_bytes(new.fingerprint), about)
    return Enrollment(
        enrollment_id=new.enrollment_id,
        speaker_key=speaker.key,
        model_id=model_id,
        embedding=vault.seal(speaker.data_key, embedding_bytes(new.embedding), of_take(new.enrollment_id)),
        speech_s=new.speech_s,
        duration_s=new.duration_s,
        quality=new.quality,
        audio=dict(new.audio),
        audio_sha256=new.audio_sha256,
        fingerprint=sound,
        created_at=created_at,
    )


def _stored(
    row: Enrollment, speaker_id: str, embedding: Embedding, *, duplicate: bool = False
) -> StoredEnrollment:
    return StoredEnrollment(
        enrollment_id=row.enrollment_id,
        speaker_id=speaker_id,
        model_id=row.model_id,
        embedding=embedding,
        speech_s=row.speech_s,
        duration_s=row.duration_s,
        quality=row.quality,
        audio=row.audio,
        audio_sha256=row.audio_sha256,
        created_at=row.created_at,
        duplicate=duplicate,
    )


def _given(
    display_name: str | None,
    metadata: Mapping[str, Any] | None,
    consent: Mapping[str, Any] | None,
    retain_until: datetime | None,
) -> dict[str, Any]:
    """What an enrollment sets of the speaker, by column.

    Raises:
        ValidationFailed: A value cannot be stored.
    """
    known = {"display_name": display_name, "details": metadata, "consent": consent}
    given: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
    for name, value in given.items():
        check_storable("metadata" if name == "details" else name, value)
    return given if retain_until is None else given | {"retain_until": retain_until}
