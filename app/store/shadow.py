"""Scores of a model on trial, beside those of the model that served."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.store.sessions import Sessions
from app.store.tables import Feedback, ShadowScore

_MOST: Final = 50_000
"""Newest decisions that a comparison rests on."""


@dataclass(frozen=True, kw_only=True)
class ShadowRow:
    """One live decision, and the same by the model on trial."""

    decision: str
    kind: str
    outcome: str
    shadow_outcome: str
    score: float | None
    shadow_score: float | None
    same_speaker: bool
    """Both decided the same and named the same speaker, or both nobody."""
    decided_at: datetime
    correct: bool | None = None
    """The live decision was right; None as long as nobody has said."""


class Shadows(Sessions):
    """The repository's methods on models on trial."""

    def add_shadow_score(self, tenant_id: str, model_id: str, shadow_model_id: str, row: ShadowRow) -> None:
        """Stores what a model on trial made of a live decision.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> None:
            session.add(
                ShadowScore(
                    decision=row.decision,
                    tenant_id=tenant_id,
                    model_id=model_id,
                    shadow_model_id=shadow_model_id,
                    kind=row.kind,
                    outcome=row.outcome,
                    shadow_outcome=row.shadow_outcome,
                    score=row.score,
                    shadow_score=row.shadow_score,
                    same_speaker=row.same_speaker,
                    decided_at=row.decided_at,
                )
            )

        self._write(row.decision, work)

    def shadow_scores(self, tenant_id: str, model_id: str, shadow_model_id: str) -> list[ShadowRow]:
        """Reads the newest 50,000 decisions that both models made, the newest first, with their feedback.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        query = (
            select(ShadowScore, Feedback.correct)
            .outerjoin(Feedback, Feedback.decision == ShadowScore.decision)
            .where(
                ShadowScore.tenant_id == tenant_id,
                ShadowScore.shadow_model_id == shadow_model_id,
                ShadowScore.model_id == model_id,
            )
            .order_by(ShadowScore.decided_at.desc(), ShadowScore.decision)
            .limit(_MOST)
        )
        with self._reading() as session:
            return [_row(score, correct) for score, correct in session.execute(query)]

    def retire_shadow_scores(self, before: datetime) -> None:
        """Deletes comparisons of decisions that were made before this moment.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        old = ShadowScore.decided_at < before
        with self._reading() as session:
            if session.scalars(select(ShadowScore.decision).where(old).limit(1)).first() is None:
                return
        self._write("shadow", lambda session: session.execute(delete(ShadowScore).where(old)))


def _row(score: ShadowScore, correct: bool | None) -> ShadowRow:
    return ShadowRow(
        decision=score.decision,
        kind=score.kind,
        outcome=score.outcome,
        shadow_outcome=score.shadow_outcome,
        score=score.score,
        shadow_score=score.shadow_score,
        same_speaker=score.same_speaker,
        decided_at=score.decided_at,
        correct=correct,
    )
