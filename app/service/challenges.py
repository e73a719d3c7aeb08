"""Challenges: random digits that the speaker has to say in the very recording that is verified.

A recording made earlier does not hold them. A challenge is good once: it is spent in the moment in which a
decision was made with it, before anybody is told, so that of several verifications with one challenge exactly
one gets an answer. A recording that is refused (noise, too little speech) was not decided about, told nothing
of the voice, and does not spend it: the speaker may try again until it expires.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from app.audio import Utterance
from app.digits import HeardDigits
from app.errors import ChallengeRequired, ValidationFailed
from app.service.call import Call
from app.service.enrolment import check_speaker_id
from app.service.explanation import Objection, Remark
from app.service.trace import stage
from app.store.challenges import StoredChallenge

LEAST_DIGITS: Final = 4
MOST_DIGITS: Final = 10
USUAL_DIGITS: Final = 6
_ID_BYTES: Final = 16


@dataclass(frozen=True, kw_only=True)
class ChallengeRequest:
    """Who is to say how many digits."""

    speaker_id: str
    digits: int = USUAL_DIGITS
    lifetime_s: float | None = None
    """Seconds until it expires; None takes the setting, which is also the longest."""


@dataclass(frozen=True, kw_only=True)
class Challenged:
    """A challenge, and whether the recording answers it."""

    challenge_id: str
    expected: str
    """The digits, with spaces between them."""
    heard: HeardDigits | None = None
    """What the digit model says; None where there is none."""
    required: bool = False
    """The policy takes no verification without a challenge that was met."""

    @property
    def passed(self) -> bool:
        """The digits were said. False where nothing can tell."""
        return self.heard is not None and self.heard.passed

    @property
    def objection(self) -> Objection | None:
        """What speaks against the recording."""
        if self.heard is None:
            words = "Nothing here can tell whether the digits were said: the service has no digit model."
            return Objection(Remark("challenge_not_evaluated", words), refuses=self.required)
        if self.heard.passed:
            return None
        words = (
            f"The recording does not say {self.expected}: the fit of these digits is {self.heard.score:.2f}, "
            f"{self.heard.threshold:.2f} is needed."
        )
        facts = {"score": round(self.heard.score, 6), "threshold": self.heard.threshold}
        return Objection(Remark("challenge_failed", words, facts), refuses=True)


def open_challenge(call: Call, request: ChallengeRequest) -> StoredChallenge:
    """Draw digits for a speaker.

    Args:
        call: Who asks.
        request: For whom.

    Returns:
        The challenge, stored.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        ValidationFailed: The lifetime is longer than the setting allows.
        SpeakerNotFound: Nobody has the id.
        TooManyChallenges: The speaker has as many open ones as there may be.
        StorageUnavailable: The database does not answer.
    """
    longest_s = call.settings.challenge_lifetime_s
    lifetime_s = request.lifetime_s or longest_s
    if lifetime_s > longest_s:
        raise ValidationFailed("lifetime_s", f"at most {longest_s:g} s, the setting of this service")
    now = datetime.now(UTC)
    with stage("store"):
        return call.repository.open_challenge(
            call.tenant_id,
            check_speaker_id(request.speaker_id),
            challenge_id=secrets.token_urlsafe(_ID_BYTES),
            digits=draw_digits(request.digits),
            now=now,
            expires_at=now + timedelta(seconds=lifetime_s),
            most=call.settings.challenges_open,
        )


def look_up_challenge(call: Call, challenge_id: str) -> StoredChallenge:
    """A challenge of the tenant, whether it is still good or not.

    Raises:
        ChallengeNotFound: There is none, or it expired long ago.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        return call.repository.get_challenge(call.tenant_id, challenge_id)


def draw_digits(count: int) -> str:
    """Random digits, none twice in a row: two alike are said, and heard, as one long one."""
    found = str(secrets.randbelow(10))
    while len(found) < count:
        found += secrets.choice([digit for digit in "0123456789" if digit != found[-1]])
    return found


def check_challenge(call: Call, speaker_key: int, challenge_id: str | None) -> None:
    """Refuse at once what no recording could mend.

    Args:
        call: Who asks, by which policy.
        speaker_key: Who is claimed.
        challenge_id: The challenge, where one is named.

    Raises:
        ChallengeRequired: The policy wants one for every verification of a speaker.
        ChallengeNotFound, ChallengeSpent, ChallengeExpired: It is none for this verification.
        StorageUnavailable: The database does not answer.
    """
    if challenge_id is None:
        if call.policy.challenge == "required":
            raise ChallengeRequired
        return
    with stage("store"):
        found = call.repository.get_challenge(call.tenant_id, challenge_id, speaker_key)
    found.check(datetime.now(UTC))


def hear_answer(call: Call, speaker_key: int, challenge_id: str, utterance: Utterance) -> Challenged:
    """Hear whether a recording says the digits; nothing is spent.

    Raises:
        ChallengeNotFound: It is gone meanwhile.
        Overloaded, InferenceTimeout: The digit model cannot answer now.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        found = call.repository.get_challenge(call.tenant_id, challenge_id, speaker_key)
    heard = None
    if call.parts.digits is not None:
        with stage("embed"):
            heard = call.parts.digits.hear(utterance.waveform, [int(digit) for digit in found.digits])
    return Challenged(
        challenge_id=challenge_id,
        expected=" ".join(found.digits),
        heard=heard,
        required=call.policy.challenge == "required",
    )


def spend_challenge(call: Call, speaker_key: int, challenge_id: str) -> None:
    """Take the challenge for the decision that was just made, or let nobody know of the decision.

    Raises:
        ChallengeNotFound, ChallengeSpent, ChallengeExpired: Somebody else was first, or it is too late.
        ConcurrentModification: Others were first every time.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        call.repository.spend_challenge(call.tenant_id, speaker_key, challenge_id, datetime.now(UTC))
