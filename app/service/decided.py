"""Decisions are not stored: what they rested on leaves with them, sealed, in their decision_id."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from app.errors import DecisionNotFound
from app.scoring import Candidate
from app.service.call import Call

MOST_COMPARED: Final = 10
"""Candidates that a decision_id carries."""
Kind: TypeAlias = Literal["verify", "identify"]


@dataclass(frozen=True)
class Compared:
    """A speaker with whom the recording was compared."""

    speaker_key: int
    speaker_id: str
    similarity: float
    enrolled_speech_s: float

    @classmethod
    def of(cls, candidate: Candidate) -> "Compared":
        """The same of a candidate."""
        return cls(
            candidate.speaker_key,
            candidate.speaker_id,
            round(candidate.similarity, 6),
            round(candidate.enrolled_speech_s, 3),
        )


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A decision and what it rested on."""

    kind: Kind
    tenant_id: str
    model_id: str
    outcome: str
    speech_s: float
    """Speech in the recording, in seconds."""
    threshold: float
    compared: tuple[Compared, ...]
    """By falling score, at most `MOST_COMPARED`; empty when two recordings were compared."""
    gallery_size: int | None = None
    """Speakers searched; None in a verification."""
    filtered: bool = False
    """Only a part of the gallery was searched."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    number: str = field(default_factory=lambda: uuid.uuid4().hex)
    """The decision's own number: one feedback for each."""


def decided(
    call: Call,
    kind: Kind,
    outcome: str,
    compared: Sequence[Candidate],
    *,
    speech_s: float,
    threshold: float,
    gallery_size: int | None = None,
    filtered: bool = False,
) -> Decided:
    """Note a decision that was just made.

    Args:
        call: For whom, by which model.
        kind: Of which call.
        outcome: What was decided.
        compared: The candidates, best first.
        speech_s: Speech in the recording, in seconds.
        threshold: The least score that passes.
        gallery_size: Speakers searched.
        filtered: Whether only a part of the gallery was searched.
    """
    return Decided(
        kind=kind,
        tenant_id=call.tenant_id,
        model_id=call.model_id,
        outcome=outcome,
        speech_s=round(speech_s, 3),
        threshold=threshold,
        compared=tuple(Compared.of(each) for each in compared[:MOST_COMPARED]),
        gallery_size=gallery_size,
        filtered=filtered,
    )


def seal_decision(call: Call, decision: Decided) -> str:
    """The decision_id: it says nothing to whoever holds it, and everything to this service."""
    facts: dict[str, Any] = {
        "n": decision.number,
        "k": decision.kind,
        "t": decision.tenant_id,
        "m": decision.model_id,
        "o": decision.outcome,
        "at": decision.at.isoformat(timespec="milliseconds"),
        "s": decision.speech_s,
        "th": decision.threshold,
        "g": decision.gallery_size,
        "f": decision.filtered,
        "c": [
            [each.speaker_key, each.speaker_id, each.similarity, each.enrolled_speech_s]
            for each in decision.compared
        ],
    }
    return call.vault.seal_token(facts)


def open_decision(call: Call, decision_id: str) -> Decided:
    """The decision in a decision_id.

    Raises:
        DecisionNotFound: It is none, or another tenant's.
    """
    try:
        facts = call.vault.open_token(decision_id)
        found = Decided(
            number=facts["n"],
            kind=facts["k"],
            tenant_id=facts["t"],
            model_id=facts["m"],
            outcome=facts["o"],
            at=datetime.fromisoformat(facts["at"]),
            speech_s=facts["s"],
            threshold=facts["th"],
            gallery_size=facts["g"],
            filtered=facts["f"],
            compared=tuple(Compared(*each) for each in facts["c"]),
        )
    except (KeyError, TypeError, ValueError) as problem:
        # Other things are sealed in tokens too; they are no decisions.
        raise DecisionNotFound from problem
    if found.tenant_id != call.tenant_id:
        raise DecisionNotFound
    return found
