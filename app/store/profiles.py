"""Speakers before they have recordings, and how much they have recorded."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.store.audit import SERVICE, By, record
from app.store.enrollments import Enrollments
from app.store.records import StoredSpeaker
from app.store.rows import stored_speakers
from app.store.tables import Enrollment
from app.store.writes import check_storable, lock_galleries


class Profiles(Enrollments):
    """The repository's methods on speakers as such; what they enroll is above it."""

    def create_speaker(
        self,
        tenant_id: str,
        speaker_id: str,
        *,
        display_name: str | None,
        metadata: Mapping[str, Any],
        consent: Mapping[str, Any] | None,
        retain_until: datetime | None,
        by: By = SERVICE,
    ) -> StoredSpeaker:
        """Stores a speaker without recordings.

        Raises:
            SpeakerOptedOut: The speaker objected.
            SpeakerExists: There is one of that name.
            ConcurrentModification: Others were first every time.
            ValidationFailed: A value cannot be stored.
            StorageUnavailable: The database does not answer.
        """
        for name, value in {"display_name": display_name, "metadata": metadata, "consent": consent}.items():
            check_storable(name, value)

        def work(session: Session) -> StoredSpeaker:
            galleries = lock_galleries(session, tenant_id)
            self._refuse_opted_out(session, tenant_id, speaker_id)
            speaker, _ = self._speaker_for(session, tenant_id, speaker_id, "fail", galleries, by)
            speaker.display_name, speaker.details = display_name, dict(metadata)
            speaker.consent = None if consent is None else dict(consent)
            speaker.retain_until = retain_until
            facts = {"consent": consent is not None}
            record(session, self._vault, tenant_id, by, "speaker.created", speaker_id, facts)
            return stored_speakers(session, [speaker])[0]

        return self._write(speaker_id, work)

    def recorded_seconds(self, speaker_keys: Sequence[int], model_id: str) -> dict[int, float]:
        """Sums the length of the recordings that speakers have enrolled under a model.

        Returns:
            Seconds by speaker key; a speaker without any is left out.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        query = (
            select(Enrollment.speaker_key, func.sum(Enrollment.duration_s))
            .where(Enrollment.speaker_key.in_(speaker_keys), Enrollment.model_id == model_id)
            .group_by(Enrollment.speaker_key)
        )
        with self._reading() as session:
            return {key: float(seconds) for key, seconds in session.execute(query)}
