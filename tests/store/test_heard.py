"""Fingerprints in the store: sealed for one row of one speaker, carried by merges, gone with the voice."""

from collections.abc import Sequence

import numpy as np
import pytest
from sqlalchemy import Engine, text

from app.audio.fingerprint import FORMAT, ROW, Fingerprint
from app.errors import MasterKeyInvalid
from app.store import Repository
from app.store.heard import KnownSound
from app.store.sealing import fingerprint_bytes, of_heard
from tests.store.makers import MODEL, OTHER_MODEL, TENANT, VAULT, take


def sound(seed: int, frames: int = 50) -> Fingerprint:
    return np.random.default_rng(seed).integers(0, 256, (frames, ROW), dtype=np.uint8)


def key_of(repository: Repository, speaker_id: str) -> int:
    return repository.get_speaker(TENANT, speaker_id).key


def known(repository: Repository, speaker_id: str, tenant: str = TENANT) -> list[KnownSound]:
    return repository.known_sounds(tenant, [key_of(repository, speaker_id)])


def sounds(found: Sequence[KnownSound]) -> list[bytes | None]:
    return [None if each.fingerprint is None else each.fingerprint.tobytes() for each in found]


def heard_rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM heard_clips")) or 0)


def test_what_was_enrolled_and_what_was_accepted_comes_back(repository: Repository) -> None:
    rows = [take(1, fingerprint=sound(1)), take(2)]
    enrolled = repository.add_enrollments(TENANT, "anna", MODEL, rows)
    repository.remember_sound(TENANT, key_of(repository, "anna"), sound(3), 10)
    found = known(repository, "anna")
    assert sounds(found) == [sound(1).tobytes(), None, sound(3).tobytes()]
    ids = [each.enrollment_id for each in enrolled.enrollments]
    assert [each.enrollment_id for each in found] == [*ids, None]
    assert [each.audio_sha256 for each in found] == [take(1).audio_sha256, take(2).audio_sha256, None]
    assert repository.known_sounds("another-tenant", [key_of(repository, "anna")]) == []


def test_a_recording_that_two_models_heard_is_there_once(repository: Repository) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    repository.add_enrollments(TENANT, "anna", OTHER_MODEL, [take(1, fingerprint=sound(1))])
    assert sounds(known(repository, "anna")) == [sound(1).tobytes()]


def test_only_the_newest_are_kept(repository: Repository) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    repository.add_enrollments(TENANT, "ben", MODEL, [take(2)])
    repository.remember_sound(TENANT, key_of(repository, "ben"), sound(9), 3)
    for seed in range(5):
        repository.remember_sound(TENANT, key_of(repository, "anna"), sound(seed), 3)
    assert sounds(known(repository, "anna"))[1:] == [sound(seed).tobytes() for seed in (2, 3, 4)]
    assert sounds(known(repository, "ben"))[1:] == [sound(9).tobytes()]


@pytest.mark.parametrize("end", ["delete", "reset", "replace"])
def test_they_go_with_the_voice(repository: Repository, engine: Engine, end: str) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1, fingerprint=sound(1))])
    key = key_of(repository, "anna")
    repository.remember_sound(TENANT, key, sound(2), 10)
    if end == "delete":
        repository.delete_speaker(TENANT, "anna")
        assert repository.known_sounds(TENANT, [key]) == []
    elif end == "reset":
        repository.reset_speaker(TENANT, "anna")
        assert repository.known_sounds(TENANT, [key]) == []
    else:
        repository.add_enrollments(TENANT, "anna", MODEL, [take(5)], on_existing="replace")
        assert sounds(known(repository, "anna")) == [None]
    assert heard_rows(engine) == 0


def test_who_was_deleted_meanwhile_is_not_remembered(repository: Repository, engine: Engine) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    key = key_of(repository, "anna")
    repository.delete_speaker(TENANT, "anna")
    repository.remember_sound(TENANT, key, sound(1), 10)
    assert heard_rows(engine) == 0


def test_a_merge_seals_them_anew(repository: Repository) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1, fingerprint=sound(1))])
    repository.add_enrollments(TENANT, "anne", MODEL, [take(2, fingerprint=sound(2)), take(3)])
    repository.remember_sound(TENANT, key_of(repository, "anne"), sound(4), 10)
    repository.merge_speakers(TENANT, "anna", "anne")
    found = sounds(known(repository, "anna"))
    assert sorted(each for each in found if each) == sorted(sound(s).tobytes() for s in (1, 2, 4))
    assert found.count(None) == 1


def test_they_are_sealed_for_one_speaker(repository: Repository, engine: Engine) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    repository.add_enrollments(TENANT, "ben", MODEL, [take(2)])
    anna, ben = key_of(repository, "anna"), key_of(repository, "ben")
    repository.remember_sound(TENANT, anna, sound(1), 10)
    with engine.begin() as connection:
        assert sound(1).tobytes() not in connection.scalars(text("SELECT fingerprint FROM heard_clips")).one()
        connection.execute(text("UPDATE heard_clips SET speaker_key = :ben"), {"ben": ben})
    with pytest.raises(MasterKeyInvalid):
        repository.known_sounds(TENANT, [ben])


def test_a_fingerprint_of_another_format_is_not_compared(repository: Repository, engine: Engine) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    anna = key_of(repository, "anna")
    repository.remember_sound(TENANT, anna, sound(1), 10)
    with engine.begin() as connection:
        data_key = connection.scalars(text("SELECT data_key FROM speakers")).one()
        other = bytes([FORMAT + 1]) + fingerprint_bytes(sound(1))[1:]
        sealed = VAULT.seal(bytes(data_key), other, of_heard(anna))
        connection.execute(text("UPDATE heard_clips SET fingerprint = :sealed"), {"sealed": sealed})
    assert sounds(known(repository, "anna")) == [None, None]
