"""Feedback: somebody says who it really was, and what that makes of the decisions so far."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import ValidationFailed
from app.scoring import Interval
from app.scoring.points import wilson_interval
from app.service.call import Call
from app.service.decided import Compared, Decided, open_decision
from app.service.enrolment import check_speaker_id
from app.service.trace import stage
from app.store.feedback import Confirmed, Tally
from app.store.records import StoredSpeaker


@dataclass(frozen=True)
class Feedback:
    """What was made of a feedback."""

    decided: Decided
    correct: bool
    """The decision was right."""
    counted: bool
    """It is kept. Nothing is of a search in which nobody was compared: there is no number to learn from."""
    replaced: bool
    """It took the place of an earlier one about the same decision."""


@dataclass(frozen=True)
class ErrorShare:
    """How many of the confirmed decisions of one kind went wrong."""

    decisions: int
    errors: int

    @property
    def rate(self) -> float | None:
        """Share of the errors; None without decisions."""
        return self.errors / self.decisions if self.decisions else None

    @property
    def interval(self) -> Interval | None:
        """Where the share lies at 95 % confidence, were the decisions independent of each other."""
        return wilson_interval(self.errors / self.decisions, self.decisions) if self.decisions else None


@dataclass(frozen=True)
class Observed:
    """The error rates of decisions that somebody confirmed; nothing says that those are all of them.

    Attributes:
        fmr: Verifications of another voice, and how many were accepted.
        fnmr: Verifications of the right voice, and how many were rejected.
        fpir: Searches for somebody who was not in the gallery, and how many named somebody.
        fnir: Searches for somebody who was, and how many did not name that speaker.
    """

    fmr: ErrorShare
    fnmr: ErrorShare
    fpir: ErrorShare
    fnir: ErrorShare


def give_feedback(call: Call, decision_id: str, speaker_id: str | None) -> Feedback:
    """Say of a decision who it really was; a later feedback takes the place of an earlier one.

    Args:
        call: Who says so.
        decision_id: As the decision carried it.
        speaker_id: Who spoke; None for somebody who is not enrolled.

    Raises:
        DecisionNotFound: The decision_id is none, or another tenant's.
        InvalidSpeakerId: The id is not well formed.
        SpeakerNotFound: Nobody has the id, or the speaker who was compared is not there any more.
        ValidationFailed: Two recordings were compared, so there is no speaker to confirm.
        ConcurrentModification: Others were first every time.
        StorageUnavailable: The database does not answer.
    """
    decided = open_decision(call, decision_id)
    if decided.kind == "verify" and not decided.compared:
        raise ValidationFailed("decision_id", "two recordings were compared: there is no speaker to confirm")
    truth = None
    if speaker_id is not None:
        with stage("store"):
            truth = call.repository.get_speaker(call.tenant_id, check_speaker_id(speaker_id))
    row, correct = confirmed(decided, truth)
    replaced = False
    if row is not None:
        with stage("store"):
            replaced = call.repository.put_feedback(call.tenant_id, row, by=call.by)
    return Feedback(decided, correct, row is not None, replaced)


def observed(call: Call) -> Observed:
    """Count the confirmed decisions of the model that serves.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        found = call.repository.count_feedback(call.tenant_id, call.model_id)
    return Observed(
        fmr=_share(found, "verify", same=False),
        fnmr=_share(found, "verify", same=True),
        fpir=_share(found, "identify", same=False),
        fnir=_share(found, "identify", same=True),
    )


def _share(found: Sequence[Tally], kind: str, *, same: bool) -> ErrorShare:
    chosen = [each for each in found if each.kind == kind and each.same == same]
    wrong = sum(each.decisions for each in chosen if not each.correct)
    return ErrorShare(sum(each.decisions for each in chosen), wrong)


def confirmed(decided: Decided, truth: StoredSpeaker | None) -> tuple[Confirmed | None, bool]:
    """What is kept of a decision and its truth, and whether the decision was right.

    Of a verification the one comparison that was made. Of a search that of the true speaker; where that
    one was not in the gallery, the best candidate, who stands for the search and is no trial: the greatest
    of many scores is no fair impostor.

    Args:
        decided: The decision.
        truth: Who spoke; None for somebody who is not enrolled.

    Returns:
        None for the row when nobody was compared.
    """
    if decided.kind == "verify":
        claimed = decided.compared[0]
        same = truth is not None and truth.key == claimed.speaker_key
        correct = (decided.outcome == "accept") == same
        return _row(decided, claimed, same=same, correct=correct), correct
    if truth is not None and _was_searched(decided, truth):
        named = decided.compared[0].speaker_key if decided.outcome == "match" and decided.compared else None
        own = next((each for each in decided.compared if each.speaker_key == truth.key), truth)
        correct = named == truth.key
        return _row(decided, own, same=True, correct=correct), correct
    correct = decided.outcome != "match"
    if not decided.compared:
        return None, correct
    return _row(decided, decided.compared[0], same=False, correct=correct), correct


def _was_searched(decided: Decided, truth: StoredSpeaker) -> bool:
    """Whether the speaker was in the gallery: among the candidates, or there before a search of all of it."""
    if any(each.speaker_key == truth.key for each in decided.compared):
        return True
    return not decided.filtered and bool(decided.compared) and truth.created_at <= decided.at


def _row(decided: Decided, own: Compared | StoredSpeaker, *, same: bool, correct: bool) -> Confirmed:
    """One row about a speaker who was compared, or who was searched and came too far down to be told."""
    key, compared = (own.speaker_key, own) if isinstance(own, Compared) else (own.key, None)
    return Confirmed(
        decision=decided.number,
        model_id=decided.model_id,
        speaker_key=key,
        speaker_id=own.speaker_id,
        kind=decided.kind,
        outcome=decided.outcome,
        same=same,
        correct=correct,
        gallery_size=decided.gallery_size,
        similarity=compared.similarity if compared is not None else None,
        enrolled_speech_s=compared.enrolled_speech_s if compared is not None else None,
        speech_s=decided.speech_s,
        decided_at=decided.at,
    )
