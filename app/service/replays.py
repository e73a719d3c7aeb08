"""Retries: a request with a key that was used before is answered as it was then."""

import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from app.errors import ConcurrentModification, IdempotencyInProgress, StorageUnavailable
from app.service.call import Call
from app.service.trace import stage
from app.store.replays import AtWork, Begun, StoredReplay

KEPT: Final = timedelta(hours=24)
"""How long a key is remembered."""
_IDS: Final = uuid.UUID("5f0f4a0e-92d5-5c55-9d5a-3f7d8c7b3b1e")
"""Name space of the speaker ids that follow from a key."""


def begin(call: Call, key: str) -> Begun | StoredReplay:
    """Take a key for a request, or find the answer that was given under it.

    Raises:
        IdempotencyInProgress: The first request with the key has not been answered yet.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        found = call.repository.begin_replay(
            call.tenant_id, key, now=datetime.now(UTC), kept=KEPT, lease=_lease(call)
        )
    if isinstance(found, AtWork):
        raise IdempotencyInProgress
    return found


def renew(call: Call, begun: Begun) -> None:
    """Say, if that works, that the request is still at work: more than once in each lease."""
    with suppress(StorageUnavailable, ConcurrentModification):
        call.repository.renew_replay(call.tenant_id, begun, datetime.now(UTC))


def finish(call: Call, begun: Begun, answer: StoredReplay, speaker_id: str | None) -> None:
    """Keep the answer of a request that was carried out; `speaker_id` is whom it is about.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        call.repository.finish_replay(call.tenant_id, begun, answer, speaker_id)


def abandon(call: Call, begun: Begun) -> None:
    """Give a key back after a request that changed nothing.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        call.repository.abandon_replay(call.tenant_id, begun, datetime.now(UTC))


def speaker_id_from(tenant_id: str, key: str) -> str:
    """The speaker_id that is generated under a key: always the same one.

    Should the process die between storing a voice and keeping its answer, then the retry finds the
    same speaker, and its recordings as duplicates.

    Returns:
        32 hexadecimal digits, a version 5 UUID.
    """
    return uuid.uuid5(_IDS, f"{tenant_id}\0{key}").hex


def _lease(call: Call) -> timedelta:
    return timedelta(seconds=call.settings.idempotency_lease_s)
