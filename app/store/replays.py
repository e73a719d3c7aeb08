"""Answers kept for a day, so that a request that is sent again is not carried out again."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, not_, select, update
from sqlalchemy.orm import Session

from app.errors import IdempotencyInProgress
from app.store.sessions import Sessions
from app.store.tables import Replay
from app.store.writes import lock_speaker

WRAPPED_BYTES: Final = 60
"""A wrapped data key: nonce, key and tag."""
_ABANDONED: Final = timedelta(hours=1)
"""By how much a key that was given back is made older, so that no lease holds it any more."""


@dataclass(frozen=True, kw_only=True)
class StoredReplay:
    """An answer as it was given, and the request that it answers."""

    route: str
    """Template of the path; the token of its beginning while the request is at work."""
    fingerprint: str
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Begun:
    """The key is ours: the request may be carried out."""

    key: str
    token: str
    """Tells this beginning from a later one."""
    carried_out: bool = False
    """An earlier request with the key was lost after it had stored what it was to store."""


class AtWork:
    """The first request with the key has not been answered yet."""


class Replays(Sessions):
    """The repository's methods on answers to repeat."""

    def begin_replay(
        self, tenant_id: str, key: str, *, now: datetime, kept: timedelta, lease: timedelta
    ) -> Begun | AtWork | StoredReplay:
        """Takes a key for a request, unless it was used before.

        Args:
            tenant_id: Whose key.
            key: The idempotency key.
            now: The present time.
            kept: How long answers are kept; older ones are deleted.
            lease: A request that has not renewed its key for this long was lost with its process.

        Raises:
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> Begun | AtWork | StoredReplay:
            session.execute(delete(Replay).where(Replay.created_at < now - kept))
            row = session.get(Replay, (tenant_id, key), with_for_update=True)
            token = uuid.uuid4().hex
            if row is None:
                session.add(Replay(tenant_id=tenant_id, idempotency_key=key, route=token, created_at=now))
                return Begun(key, token)
            if row.fingerprint is not None:
                return self._stored_replay(row)
            if abs(now - row.created_at) < lease:  # one from the future has met another clock
                return AtWork()
            row.created_at, row.route = now, token
            return Begun(key, token, carried_out=row.subject is not None)

        return self._write("", work)

    def renew_replay(self, tenant_id: str, begun: Begun, now: datetime) -> None:
        """Says that the request is still at work.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        renewed = update(Replay).where(*_begun(tenant_id, begun)).values(created_at=now)
        self._write("", lambda session: session.execute(renewed))

    def finish_replay(
        self, tenant_id: str, begun: Begun, answer: StoredReplay, speaker_id: str | None
    ) -> None:
        """Keeps an answer.

        Args:
            tenant_id: Whose key.
            begun: What `begin_replay` gave.
            answer: The answer; its body is sealed.
            speaker_id: Whom it is about. Of somebody who is not, or not any more, nothing is kept.

        Raises:
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> None:
            known = speaker_id is None or lock_speaker(session, tenant_id, speaker_id) is not None
            row = session.scalars(select(Replay).where(*_begun(tenant_id, begun)).with_for_update()).first()
            if row is None:
                return  # somebody else has taken the key since
            if not known:
                session.delete(row)
                return
            wrapped = self._vault.new_data_key()
            row.sealed = wrapped + self._vault.seal(wrapped, answer.body, _about(row))
            row.subject = None if speaker_id is None else self._vault.subject(tenant_id, speaker_id)
            row.route, row.status, row.headers = answer.route, answer.status, answer.headers
            row.fingerprint = answer.fingerprint

        self._write("", work)

    def abandon_replay(self, tenant_id: str, begun: Begun, now: datetime) -> None:
        """Gives a key back. Where something was stored under it nevertheless, its retry is told.

        Raises:
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> None:
            ours = _begun(tenant_id, begun)
            session.execute(delete(Replay).where(*ours, Replay.subject.is_(None)))
            session.execute(update(Replay).where(*ours).values(created_at=now - _ABANDONED))

        self._write("", work)

    def _stored_replay(self, row: Replay) -> StoredReplay:
        assert row.fingerprint is not None
        assert row.status is not None
        assert row.sealed is not None
        wrapped, sealed = row.sealed[:WRAPPED_BYTES], row.sealed[WRAPPED_BYTES:]
        return StoredReplay(
            route=row.route,
            fingerprint=row.fingerprint,
            status=row.status,
            headers=dict(row.headers or {}),
            body=self._vault.open(wrapped, sealed, _about(row)),
        )


def drop_replays(session: Session, tenant_id: str, subject: str, begun: Begun | None) -> None:
    """Deletes every kept answer about a speaker, in the transaction that deletes the speaker.

    Args:
        session: The transaction.
        tenant_id: Whose speaker.
        subject: Digest of the speaker.
        begun: The request that deletes; its own answer is yet to be kept.
    """
    about = [Replay.tenant_id == tenant_id, Replay.subject == subject]
    if begun is not None:
        about.append(not_(and_(*_begun(tenant_id, begun))))
    session.execute(delete(Replay).where(*about))


def note_carried_out(session: Session, tenant_id: str, begun: Begun, subject: str) -> None:
    """Marks a key in the transaction that does what its request asked for.

    Should the process die before the answer is kept, then the retry knows that this is done. A request
    that was paused for so long that a retry has taken its key must not be carried out beside it.

    Raises:
        IdempotencyInProgress: The key is no longer ours.
    """
    marked = update(Replay).where(*_begun(tenant_id, begun)).values(subject=subject)
    if session.execute(marked.returning(Replay.idempotency_key)).first() is None:
        raise IdempotencyInProgress


def _begun(tenant_id: str, begun: Begun) -> tuple[ColumnElement[bool], ...]:
    """The row of a request that is at work."""
    named = Replay.tenant_id == tenant_id, Replay.idempotency_key == begun.key
    return (*named, Replay.route == begun.token, Replay.fingerprint.is_(None))


def _about(row: Replay) -> str:
    """What the body of a row is sealed for."""
    return f"replay {row.tenant_id} {row.idempotency_key}"
