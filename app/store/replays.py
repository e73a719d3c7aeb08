"""Answers kept for a day, so that a request that is sent again is not carried out again."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.store.sessions import Sessions
from app.store.tables import Replay
from app.store.writes import lock_speaker

_WRAPPED_BYTES: Final = 60
"""A wrapped data key: nonce, key and tag."""


@dataclass(frozen=True, kw_only=True)
class StoredReplay:
    """An answer as it was given, and the request that it answers."""

    route: str
    """Template of the path."""
    fingerprint: str
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Begun:
    """The key is ours: the request may be carried out. `at` tells this beginning from a later one."""

    at: datetime


class AtWork:
    """The first request with the key has not been answered yet."""


class Replays(Sessions):
    """The repository's methods on answers to repeat."""

    def begin_replay(
        self, tenant_id: str, key: str, *, now: datetime, kept: timedelta, longest: timedelta
    ) -> Begun | AtWork | StoredReplay:
        """Takes a key for a request, unless it was used before.

        Args:
            tenant_id: Whose key.
            key: The idempotency key.
            now: The present time.
            kept: How long answers are kept; older ones are deleted.
            longest: A request that began longer ago than this was lost with its process.

        Raises:
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> Begun | AtWork | StoredReplay:
            session.execute(delete(Replay).where(Replay.created_at < now - kept))
            row = session.get(Replay, (tenant_id, key), with_for_update=True)
            if row is None:
                session.add(Replay(tenant_id=tenant_id, idempotency_key=key, route="", created_at=now))
                return Begun(now)
            if row.fingerprint is not None:
                return self._stored_replay(row)
            if row.created_at > now - longest:
                return AtWork()
            row.created_at = now
            return Begun(now)

        return self._write("", work)

    def finish_replay(
        self, tenant_id: str, key: str, begun: Begun, answer: StoredReplay, speaker_id: str | None
    ) -> None:
        """Keeps an answer.

        Args:
            tenant_id: Whose key.
            key: The idempotency key.
            begun: What `begin_replay` gave.
            answer: The answer; its body is sealed.
            speaker_id: Whom it is about. Of somebody who is not, or not any more, nothing is kept.

        Raises:
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> None:
            known = speaker_id is None or lock_speaker(session, tenant_id, speaker_id) is not None
            row = session.get(Replay, (tenant_id, key), with_for_update=True)
            if row is None or row.fingerprint is not None or row.created_at != begun.at:
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

    def abandon_replay(self, tenant_id: str, key: str, begun: Begun) -> None:
        """Gives a key back: nothing was done that must not be done twice.

        Raises:
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> None:
            session.execute(
                delete(Replay).where(
                    Replay.tenant_id == tenant_id,
                    Replay.idempotency_key == key,
                    Replay.created_at == begun.at,
                    Replay.fingerprint.is_(None),
                )
            )

        self._write("", work)

    def _stored_replay(self, row: Replay) -> StoredReplay:
        assert row.fingerprint is not None
        assert row.status is not None
        assert row.sealed is not None
        wrapped, sealed = row.sealed[:_WRAPPED_BYTES], row.sealed[_WRAPPED_BYTES:]
        return StoredReplay(
            route=row.route,
            fingerprint=row.fingerprint,
            status=row.status,
            headers=dict(row.headers or {}),
            body=self._vault.open(wrapped, sealed, _about(row)),
        )


def drop_replays(session: Session, tenant_id: str, subject: str) -> None:
    """Deletes every kept answer about a speaker; part of the transaction that deletes the speaker."""
    session.execute(delete(Replay).where(Replay.tenant_id == tenant_id, Replay.subject == subject))


def _about(row: Replay) -> str:
    """What the body of a row is sealed for."""
    return f"replay {row.tenant_id} {row.idempotency_key}"
