"""Kept recordings, and what another model makes of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from app.errors import SpeakerNotFound
from app.store.audit import SERVICE, By, record
from app.store.enrollments import insert_takes
from app.store.records import Holding, NewEnrollment
from app.store.rows import find_speaker, in_group, stored_speakers, touch, unexpired
from app.store.sealing import of_recording
from app.store.sessions import Sessions
from app.store.tables import Centroid, Enrollment, Recording, Speaker
from app.store.writes import derive_centroids, lock_galleries, lock_speaker


@dataclass(frozen=True)
class Clip:
    """One upload of a speaker, whichever models have heard it."""

    audio_sha256: str
    kept: bool
    """The recording itself is there."""
    known: bool
    """The model in question has heard it."""


@dataclass(frozen=True)
class Coverage:
    """How far the speakers of one model have come under another; only those with enough speech count."""

    enrolled: int
    """Under the one."""
    ready: int
    """Under both."""

    @property
    def reenrollment_required(self) -> int:
        """Those whom the other model could not verify or find."""
        return self.enrolled - self.ready


class Recordings(Sessions):
    """The repository's methods on kept recordings."""

    def clips_of(self, tenant_id: str, speaker_id: str, model_id: str) -> list[Clip]:
        """Lists the uploads behind a speaker's takes, oldest first, and what `model_id` has of them.

        Raises:
            SpeakerNotFound: There is none of that name.
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            key = find_speaker(session, tenant_id, speaker_id).key
            first = func.min(Enrollment.created_at)
            clips = select(Enrollment.audio_sha256).where(Enrollment.speaker_key == key)
            clips = clips.group_by(Enrollment.audio_sha256).order_by(first, Enrollment.audio_sha256)
            kept = set(session.scalars(select(Recording.audio_sha256).where(Recording.speaker_key == key)))
            takes = select(Enrollment.audio_sha256)
            known = set(
                session.scalars(takes.where(Enrollment.speaker_key == key, Enrollment.model_id == model_id))
            )
            return [Clip(clip, clip in kept, clip in known) for clip in session.scalars(clips)]

    def recordings_of(
        self, tenant_id: str, speaker_id: str, clips: Sequence[str]
    ) -> Iterator[tuple[str, bytes]]:
        """Reads kept recordings one by one: (audio_sha256, upload). Those that are gone are left out.

        Raises:
            SpeakerNotFound: There is none of that name.
            StorageUnavailable: The database does not answer.
        """
        for clip in clips:
            with self._reading() as session:
                speaker = find_speaker(session, tenant_id, speaker_id)
                row = session.get(Recording, (speaker.key, clip))
                if row is None:
                    continue
                data = self._vault.open(speaker.data_key, row.sealed, of_recording(clip))
            yield clip, data

    def add_takes(
        self,
        tenant_id: str,
        speaker_id: str,
        model_id: str,
        rows: Sequence[NewEnrollment],
        *,
        by: By = SERVICE,
    ) -> Holding:
        """Stores what a model made of kept recordings, in this order; those that it has are left out.

        A recording that was deleted meanwhile does not come back.

        Returns:
            What the speaker has under the model now.

        Raises:
            SpeakerNotFound: There is none of that name any more.
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> Holding:
            galleries = lock_galleries(session, tenant_id, model_id)
            speaker = lock_speaker(session, tenant_id, speaker_id)
            if speaker is None:
                raise SpeakerNotFound(speaker_id)
            kept = set(
                session.scalars(select(Recording.audio_sha256).where(Recording.speaker_key == speaker.key))
            )
            wanted = [row for row in rows if row.audio_sha256 in kept]
            stored = insert_takes(session, self._vault, speaker, model_id, wanted)
            fresh = sum(not take.duplicate for take in stored)
            if fresh:
                derive_centroids(session, self._vault, speaker, {model_id}, galleries)
                touch(speaker)
                facts = {"enrollments": fresh, "model": model_id}
                record(session, self._vault, tenant_id, by, "speaker.reembedded", speaker_id, facts)
            return stored_speakers(session, [speaker])[0].held(model_id)

        return self._write(speaker_id, work)

    def coverage(self, tenant_id: str, model_id: str, other_id: str, min_speech_s: float) -> Coverage:
        """Counts the speakers of a model, and those of them who are also enrolled under another.

        Args:
            tenant_id: Whose speakers.
            model_id: The model that has them.
            other_id: The model that could take its place.
            min_speech_s: Speech that makes a speaker enrolled, in seconds.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        one, two = aliased(Centroid), aliased(Centroid)
        enough = one.embedding.is_not(None), one.speech_s >= min_speech_s
        enrolled = select(func.count()).select_from(one)
        enrolled = enrolled.join(Speaker, Speaker.key == one.speaker_key)
        enrolled = enrolled.where(one.tenant_id == tenant_id, one.model_id == model_id, *enough, unexpired())
        ready = enrolled.join(two, two.speaker_key == one.speaker_key).where(
            two.model_id == other_id, two.embedding.is_not(None), two.speech_s >= min_speech_s
        )
        with self._reading() as session:
            return Coverage(session.scalars(enrolled).one(), session.scalars(ready).one())

    def count_speakers(self, tenant_id: str, *, group: str | None = None) -> int:
        """Counts the speakers that `list_speakers` lists.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        query = select(func.count()).select_from(Speaker)
        query = query.where(Speaker.tenant_id == tenant_id, unexpired())
        with self._reading() as session:
            return session.scalars(query if group is None else query.where(in_group(group))).one()
