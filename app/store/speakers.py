"""Speakers: find, list, update, reset, delete."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import not_, select
from sqlalchemy.orm import Session

from app.errors import ConcurrentModification, SpeakerNotFound, ValidationFailed
from app.failpoints import reach
from app.store.audit import SERVICE, By, record
from app.store.database import erase_traces
from app.store.erasing import POINT_OF, Reason, erase_voice, new_entry, set_opt_out
from app.store.records import UNSET, Receipt, SpeakerPage, StoredSpeaker, Unset, edition_of
from app.store.rows import (
    find_speaker,
    in_group,
    is_expired,
    merge_patch,
    read_cursor,
    stored_speakers,
    touch,
    unexpired,
    write_cursor,
)
from app.store.sessions import Sessions
from app.store.tables import Speaker
from app.store.writes import check_storable, lock_galleries, lock_speaker

MAX_LIMIT: Final = 1000
"""Most speakers on one page."""


class Speakers(Sessions):
    """The repository's methods on speakers."""

    def get_speaker(self, tenant_id: str, speaker_id: str) -> StoredSpeaker:
        """Reads one speaker.

        Raises:
            SpeakerNotFound: There is none of that name.
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            return stored_speakers(session, [find_speaker(session, tenant_id, speaker_id)])[0]

    def list_speakers(
        self, tenant_id: str, *, cursor: str | None = None, limit: int = 50, group: str | None = None
    ) -> SpeakerPage:
        """Reads one page of speakers, in the order of their creation.

        Args:
            tenant_id: Whose speakers.
            cursor: `next_cursor` of the page before; None begins.
            limit: Most speakers on the page, 1 to 1000.
            group: Only speakers whose metadata has this "group".

        Raises:
            ValidationFailed: The cursor is not one of ours, or the limit is out of range.
            StorageUnavailable: The database does not answer.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise ValidationFailed("limit", f"it must lie between 1 and {MAX_LIMIT}")
        query = select(Speaker).where(Speaker.tenant_id == tenant_id, unexpired())
        if cursor is not None:
            query = query.where(Speaker.key > read_cursor("speaker", cursor))
        if group is not None:
            query = query.where(in_group(group))
        with self._reading() as session:
            # One more than asked for tells whether there is a next page.
            rows = session.scalars(query.order_by(Speaker.key).limit(limit + 1)).all()
            page = stored_speakers(session, rows[:limit])
        return SpeakerPage(tuple(page), write_cursor("speaker", page[-1].key) if len(rows) > limit else None)

    def update_speaker(
        self,
        tenant_id: str,
        speaker_id: str,
        *,
        display_name: str | Unset | None = UNSET,
        metadata_patch: Mapping[str, Any] | None = None,
        consent: Mapping[str, Any] | Unset | None = UNSET,
        retain_until: datetime | Unset | None = UNSET,
        expected_edition: str | None = None,
        by: By = SERVICE,
    ) -> StoredSpeaker:
        """Changes what is known about a speaker; its enrollments stay.

        Args:
            tenant_id: Whose speaker.
            speaker_id: Which speaker.
            display_name: The new name, None for no name; UNSET leaves it.
            metadata_patch: JSON merge patch (RFC 7396) of the metadata: null removes a key.
            consent: The new record of consent, None for none; UNSET leaves it.
            retain_until: When the speaker is deleted, None for never; UNSET leaves it.
            expected_edition: Change only a speaker that is still of this edition.
            by: Who does it.

        Raises:
            SpeakerNotFound: There is none of that name.
            ConcurrentModification: The edition is another one, or others were first every time.
            ValidationFailed: A value cannot be stored.
            StorageUnavailable: The database does not answer.
        """
        given = {"display_name": display_name, "consent": consent, "retain_until": retain_until}
        given = {name: value for name, value in given.items() if value is not UNSET}
        for name in given.keys() - {"retain_until"}:
            check_storable(name, given[name])
        check_storable("metadata", metadata_patch)

        def work(session: Session) -> StoredSpeaker:
            speaker = self._held(session, tenant_id, speaker_id, expected_edition)
            for name, value in given.items():
                setattr(speaker, name, value)
            if metadata_patch is not None:
                speaker.details = merge_patch(speaker.details, metadata_patch)
            touch(speaker)
            changed = sorted(given) + (["metadata"] if metadata_patch is not None else [])
            record(session, self._vault, tenant_id, by, "speaker.updated", speaker_id, {"fields": changed})
            return stored_speakers(session, [speaker])[0]

        return self._write(speaker_id, work)

    def reset_speaker(
        self, tenant_id: str, speaker_id: str, *, expected_edition: str | None = None, by: By = SERVICE
    ) -> StoredSpeaker:
        """Deletes every recording of a speaker; the speaker stays, without any.

        Raises:
            SpeakerNotFound: There is none of that name.
            ConcurrentModification: The edition is another one, or others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> StoredSpeaker:
            galleries = lock_galleries(session, tenant_id)
            speaker = self._held(session, tenant_id, speaker_id, expected_edition)
            erase_voice(session, self._vault, speaker, galleries, "reset", by)
            touch(speaker)
            return stored_speakers(session, [speaker])[0]

        speaker = self._write(speaker_id, work)
        erase_traces(self._engine)
        return speaker

    def delete_speaker(
        self,
        tenant_id: str,
        speaker_id: str,
        *,
        expected_edition: str | None = None,
        reason: Reason = "request",
        by: By = SERVICE,
    ) -> Receipt | None:
        """Deletes a speaker with everything stored of the voice; deleting it again is no error.

        Args:
            tenant_id: Whose speaker.
            speaker_id: Which speaker.
            expected_edition: Delete only a speaker that is still of this edition.
            reason: Why, for the receipt. With `retention` one whose time is not over is left alone.
                With `opt-out` the objection is stored too, whether there was a speaker or not.
            by: Who does it.

        Returns:
            The receipt; None when there was nobody.

        Raises:
            ConcurrentModification: The edition is another one, or others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> Receipt | None:
            galleries = lock_galleries(session, tenant_id)
            speaker = lock_speaker(session, tenant_id, speaker_id)
            if reason == "opt-out":
                objection = new_entry("object", tenant_id, self._vault.subject(tenant_id, speaker_id))
                set_opt_out(session, self._vault, objection, by)
                reach("opt_out.noted")
            if speaker is None or (reason == "retention" and not is_expired(speaker)):
                return None
            _check_edition(speaker, expected_edition)
            receipt = erase_voice(session, self._vault, speaker, galleries, reason, by)
            session.delete(speaker)
            return receipt

        point = POINT_OF.get(reason, "")
        receipt = self._write(speaker_id, work, point=point)
        if receipt is not None:
            erase_traces(self._engine)
            reach(f"{point}.traces_gone")
        return receipt

    def expired_speakers(self, limit: int = 100) -> list[tuple[str, str]]:
        """(tenant_id, speaker_id) of speakers whose time to be kept is over.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        query = select(Speaker.tenant_id, Speaker.speaker_id).where(not_(unexpired())).limit(limit)
        with self._reading() as session:
            return [(tenant_id, speaker_id) for tenant_id, speaker_id in session.execute(query)]

    def _held(
        self, session: Session, tenant_id: str, speaker_id: str, expected_edition: str | None
    ) -> Speaker:
        """The locked row of a speaker that is there and is of the edition."""
        speaker = lock_speaker(session, tenant_id, speaker_id)
        if speaker is None or is_expired(speaker):
            raise SpeakerNotFound(speaker_id)
        _check_edition(speaker, expected_edition)
        return speaker


def _check_edition(speaker: Speaker, expected: str | None) -> None:
    if expected is not None and edition_of(speaker) != expected:
        raise ConcurrentModification(speaker.speaker_id)
