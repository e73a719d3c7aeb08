"""Challenges: digits that a speaker was asked to say, good once and until they expire."""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.errors import ChallengeExpired, ChallengeNotFound, ChallengeSpent, TooManyChallenges
from app.store.rows import find_speaker
from app.store.sessions import Sessions
from app.store.tables import Challenge, Speaker

Status: TypeAlias = Literal["open", "spent", "expired"]
KEPT: Final = timedelta(hours=1)
"""Time for which an expired challenge is still known as expired."""
_SKEW: Final = timedelta(seconds=5)
"""How far the clocks of two hosts may lie apart. A challenge from further in the future was made before the
clock was put back, and nobody knows how old it is."""


@dataclass(frozen=True, kw_only=True)
class StoredChallenge:
    """Digits that were asked for."""

    challenge_id: str
    speaker_key: int
    speaker_id: str
    digits: str
    """Each 0 to 9, without spaces."""
    created_at: datetime
    expires_at: datetime
    spent_at: datetime | None = None

    def status(self, now: datetime) -> Status:
        """Whether it is still good."""
        if self.spent_at is not None:
            return "spent"
        return "expired" if now >= self.expires_at or now < self.created_at - _SKEW else "open"

    def check(self, now: datetime) -> None:
        """Goes on only while it is good.

        Raises:
            ChallengeSpent: A verification was made with it.
            ChallengeExpired: Its time is over, or the clock was put back behind its beginning.
        """
        status = self.status(now)
        if status == "spent":
            raise ChallengeSpent(self.challenge_id)
        if status == "expired":
            raise ChallengeExpired(self.challenge_id)


class Challenges(Sessions):
    """The repository's methods on challenges."""

    def open_challenge(
        self, tenant_id: str, speaker_id: str, *, challenge_id: str, digits: str,
        now: datetime, expires_at: datetime, most: int,
    ) -> StoredChallenge:  # fmt: skip
        """Stores a challenge, unless the speaker has too many open ones.

        Args:
            tenant_id: Whose speaker.
            speaker_id: Who is asked.
            challenge_id: Its name, hard to guess.
            digits: What is asked for.
            now: The present time.
            expires_at: When it is over.
            most: Challenges of one speaker that may be open at the same time, this one included.

        Raises:
            SpeakerNotFound: There is no such speaker.
            TooManyChallenges: So many are open.
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> StoredChallenge:
            key = find_speaker(session, tenant_id, speaker_id).key
            # Held until the commit: two at once must not both be the last that is let in.
            session.execute(select(Speaker.key).where(Speaker.key == key).with_for_update())
            still_open = select(func.count(), func.min(Challenge.expires_at)).where(
                Challenge.speaker_key == key, Challenge.spent_at.is_(None), Challenge.expires_at > now
            )
            count, first = session.execute(still_open).one()
            if count >= most:
                raise TooManyChallenges(speaker_id, count, max(1, math.ceil((first - now).total_seconds())))
            row = Challenge(
                challenge_id=challenge_id,
                tenant_id=tenant_id,
                speaker_key=key,
                digits=digits,
                created_at=now,
                expires_at=expires_at,
            )
            session.add(row)
            return _stored(row, speaker_id)

        return self._write(speaker_id, work)

    def get_challenge(
        self, tenant_id: str, challenge_id: str, speaker_key: int | None = None
    ) -> StoredChallenge:
        """Reads a challenge, of this speaker where one is named, whether it is still good or not.

        Raises:
            ChallengeNotFound: This speaker, or this tenant, has none of that name.
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            return _find(session, tenant_id, challenge_id, speaker_key)

    def spend_challenge(self, tenant_id: str, speaker_key: int, challenge_id: str, now: datetime) -> None:
        """Takes a challenge for one verification: of any number at the same time exactly one gets it.

        Raises:
            ChallengeNotFound: It is not there, or not any more.
            ChallengeSpent: Another verification has it.
            ChallengeExpired: Its time is over.
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> None:
            mine = update(Challenge).where(
                Challenge.challenge_id == challenge_id,
                Challenge.tenant_id == tenant_id,
                Challenge.speaker_key == speaker_key,
                Challenge.spent_at.is_(None),
            )
            # The update takes the row's lock, and whoever waits for it finds the row spent.
            taken = session.execute(mine.values(spent_at=now).returning(Challenge.challenge_id)).first()
            found = _find(session, tenant_id, challenge_id, speaker_key)
            if taken is None:
                raise ChallengeSpent(challenge_id)
            # What is raised takes the update back: who comes too late has not spent it.
            replace(found, spent_at=None).check(now)

        self._write("", work)

    def drop_expired_challenges(self, now: datetime) -> int:
        """Deletes the challenges whose time has been over for an hour; returns how many.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        old = delete(Challenge).where(Challenge.expires_at < now - KEPT).returning(Challenge.challenge_id)
        return self._write("", lambda session: len(session.execute(old).all()))


def _find(session: Session, tenant_id: str, challenge_id: str, speaker_key: int | None) -> StoredChallenge:
    query = select(Challenge, Speaker.speaker_id).join(Speaker, Speaker.key == Challenge.speaker_key)
    query = query.where(Challenge.challenge_id == challenge_id, Challenge.tenant_id == tenant_id)
    if speaker_key is not None:
        query = query.where(Challenge.speaker_key == speaker_key)
    found = session.execute(query.execution_options(populate_existing=True)).first()
    if found is None:
        raise ChallengeNotFound(challenge_id)
    return _stored(*found)


def _stored(row: Challenge, speaker_id: str) -> StoredChallenge:
    return StoredChallenge(
        challenge_id=row.challenge_id,
        speaker_key=row.speaker_key,
        speaker_id=speaker_id,
        digits=row.digits,
        created_at=row.created_at,
        expires_at=row.expires_at,
        spent_at=row.spent_at,
    )
