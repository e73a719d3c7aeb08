"""Challenges → the JSON of the answers."""

from datetime import UTC, datetime

from app.api.schemas.challenges import ChallengeAnswer, ChallengeVerdict
from app.service.challenges import Challenged
from app.service.trace import current
from app.store.challenges import StoredChallenge


def challenge_answer(found: StoredChallenge) -> ChallengeAnswer:
    """The answer with the digits to say."""
    return ChallengeAnswer(
        challenge_id=found.challenge_id,
        digits=" ".join(found.digits),
        expires_at=found.expires_at,
        speaker_id=found.speaker_id,
        status=found.status(datetime.now(UTC)),
        request_id=current().request_id,
    )


def challenge_verdict(found: Challenged | None) -> ChallengeVerdict | None:
    """What a verification says of its challenge; None where it had none."""
    if found is None:
        return None
    heard = found.heard
    return ChallengeVerdict(
        challenge_id=found.challenge_id,
        expected=found.expected,
        evaluated=heard is not None,
        passed=found.passed,
        score=heard.score if heard else None,
        threshold=heard.threshold if heard else None,
        heard=heard.heard if heard else None,
    )
