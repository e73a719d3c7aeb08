"""Feedback: which decisions were right, as far as somebody said so."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import SpeakerNotFound
from app.store.audit import SERVICE, By, record
from app.store.rows import unexpired
from app.store.sessions import Sessions
from app.store.tables import Feedback, Speaker


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """A decision and its truth, as one row.

    Attributes:
        decision: The decision's own number.
        model_id: The model that decided.
        speaker_key: The speaker of the comparison that is kept: the claimed one of a verification, the true
            one of a search, or the best candidate of a search for somebody who was not in the gallery.
        speaker_id: The same speaker's name; it is not stored, a refusal says it.
        kind: `verify` or `identify`.
        outcome: What was decided.
        same: It was this speaker.
        correct: The decision was right.
        gallery_size: Speakers searched; None for a verification.
        similarity: Cosine; None where the true speaker was not compared.
        enrolled_speech_s: Speech behind the centroid, in seconds; None likewise.
        speech_s: Speech in the recording, in seconds.
        decided_at: When it was decided.
    """

    decision: str
    model_id: str
    speaker_key: int
    speaker_id: str = ""
    kind: str
    outcome: str
    same: bool
    correct: bool
    gallery_size: int | None
    similarity: float | None
    enrolled_speech_s: float | None
    speech_s: float
    decided_at: datetime


class Tally(NamedTuple):
    """How many decisions of one kind there are; the fields are those of `Confirmed`."""

    kind: str
    same: bool
    correct: bool
    decisions: int


class Feedbacks(Sessions):
    """The repository's methods on feedback."""

    def put_feedback(self, tenant_id: str, confirmed: Confirmed, *, by: By = SERVICE) -> bool:
        """Stores the truth of a decision, in the place of what was said of it before.

        Args:
            tenant_id: Whose decision.
            confirmed: The decision and its truth.
            by: Who says so.

        Returns:
            Whether something had been said before.

        Raises:
            SpeakerNotFound: The speaker of the comparison is not there any more.
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> bool:
            # Held until the commit, so that no deletion of the speaker can come in between.
            there = select(Speaker.key).where(Speaker.key == confirmed.speaker_key, unexpired())
            mine = there.where(Speaker.tenant_id == tenant_id)
            if session.scalars(mine.with_for_update()).one_or_none() is None:
                raise SpeakerNotFound(confirmed.speaker_id)
            row = session.get(Feedback, confirmed.decision)
            replaced = row is not None
            if row is None:
                row = Feedback(decision=confirmed.decision, tenant_id=tenant_id)
                session.add(row)
            for name, value in vars(confirmed).items():
                if name not in ("decision", "speaker_id"):
                    setattr(row, name, value)
            row.given_at = datetime.now(UTC)
            session.flush()
            facts = {"kind": row.kind, "outcome": row.outcome, "correct": row.correct, "replaced": replaced}
            record(session, self._vault, tenant_id, by, "decision.confirmed", None, facts)
            return replaced

        return self._write(confirmed.speaker_id, work)

    def list_feedback(self, tenant_id: str, model_id: str, limit: int) -> list[Confirmed]:
        """Reads what was said of a model's decisions, the newest decisions first.

        Args:
            tenant_id: Whose.
            model_id: The model that decided.
            limit: Most rows.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        query = select(Feedback).where(Feedback.tenant_id == tenant_id, Feedback.model_id == model_id)
        query = query.order_by(Feedback.decided_at.desc(), Feedback.decision).limit(limit)
        with self._reading() as session:
            return [_confirmed(row) for row in session.scalars(query)]

    def count_feedback(self, tenant_id: str, model_id: str) -> list[Tally]:
        """Counts what was said of a model's decisions, by call, truth and whether it was right.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        kinds = (Feedback.kind, Feedback.same, Feedback.correct)
        query = select(*kinds, func.count()).group_by(*kinds)
        query = query.where(Feedback.tenant_id == tenant_id, Feedback.model_id == model_id)
        with self._reading() as session:
            return [Tally(*row) for row in session.execute(query)]


def _confirmed(row: Feedback) -> Confirmed:
    return Confirmed(
        decision=row.decision,
        model_id=row.model_id,
        speaker_key=row.speaker_key,
        kind=row.kind,
        outcome=row.outcome,
        same=row.same,
        correct=row.correct,
        gallery_size=row.gallery_size,
        similarity=row.similarity,
        enrolled_speech_s=row.enrolled_speech_s,
        speech_s=row.speech_s,
        decided_at=row.decided_at,
    )
