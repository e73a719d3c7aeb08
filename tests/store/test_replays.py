"""An idempotency key belongs to one request at a time, and its transaction says that it was carried out."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from app.errors import IdempotencyInProgress
from app.store import By, Repository
from app.store.replays import AtWork, Begun, StoredReplay
from tests.store.makers import MODEL, TENANT, take

LEASE = timedelta(seconds=15)
NOW = datetime.now(UTC)
ANSWER = StoredReplay(route="/enroll", fingerprint="0" * 64, status=201, headers={}, body=b"{}")


def begin(repository: Repository, after_s: float = 0.0) -> Begun | AtWork | StoredReplay:
    now = NOW + timedelta(seconds=after_s)
    return repository.begin_replay(TENANT, "key", now=now, kept=timedelta(hours=24), lease=LEASE)


def taken(repository: Repository, after_s: float = 0.0) -> Begun:
    found = begin(repository, after_s)
    assert isinstance(found, Begun)
    return found


def enroll(repository: Repository, begun: Begun, seed: int = 1) -> None:
    by = By("somebody", "request", begun)
    repository.add_enrollments(TENANT, "anna", MODEL, [take(seed)], on_existing="replace", by=by)


def test_a_sign_of_life_keeps_the_key(repository: Repository) -> None:
    begun = taken(repository)
    assert isinstance(begin(repository, 14), AtWork)
    repository.renew_replay(TENANT, begun, NOW + timedelta(seconds=10))
    assert isinstance(begin(repository, 20), AtWork)
    assert not taken(repository, 26).carried_out


@pytest.mark.parametrize("after_s", [-3600, 16, 3600])
def test_silence_and_a_clock_set_back_free_it(repository: Repository, after_s: float) -> None:
    first = taken(repository)
    again = taken(repository, after_s)
    assert again.token != first.token


def test_the_transaction_marks_the_key(repository: Repository) -> None:
    enroll(repository, taken(repository))
    again = taken(repository, 16)
    assert again.carried_out
    repository.finish_replay(TENANT, again, ANSWER, "anna")
    assert begin(repository, 17) == ANSWER


def test_whoever_lost_the_key_writes_nothing(repository: Repository) -> None:
    paused = taken(repository)
    other = taken(repository, 16)
    enroll(repository, other, 2)
    with pytest.raises(IdempotencyInProgress):
        enroll(repository, paused, 1)
    (row,) = repository.list_enrollments(TENANT, "anna")
    assert row.audio_sha256 == take(2).audio_sha256
    repository.finish_replay(TENANT, paused, ANSWER, "anna")  # keeps nothing
    repository.abandon_replay(TENANT, paused, NOW)
    assert taken(repository, 40).carried_out
    assert repository.check_audit(TENANT).broken_at is None


def test_a_key_that_was_given_back_remembers_what_was_done(repository: Repository) -> None:
    begun = taken(repository)
    repository.abandon_replay(TENANT, begun, NOW)
    begun = taken(repository, 1)
    enroll(repository, begun)
    repository.abandon_replay(TENANT, begun, NOW + timedelta(seconds=1))
    assert taken(repository, 2).carried_out


def test_a_deletion_forgets_all_keys_but_its_own(repository: Repository, engine: Engine) -> None:
    enroll(repository, taken(repository))
    by = By("somebody", "request", repository.begin_replay(
        TENANT, "other", now=NOW, kept=timedelta(hours=24), lease=LEASE))  # type: ignore[arg-type]  # fmt: skip
    repository.delete_speaker(TENANT, "anna", reason="opt-out", by=by)
    assert not taken(repository, 1).carried_out
    other = repository.begin_replay(
        TENANT, "other", now=NOW + timedelta(minutes=1), kept=timedelta(hours=24), lease=LEASE
    )
    assert isinstance(other, Begun)
    assert other.carried_out
