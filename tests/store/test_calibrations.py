"""Calibrations of tenants: one in force at most, whatever happens at the same time."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from app.errors import CalibrationNotFound, ValidationFailed
from app.store import Repository
from app.store.calibrations import StoredCalibration
from tests.store.makers import MODEL, OTHER_MODEL, TENANT, take


def propose(repository: Repository, model_id: str = MODEL, tenant_id: str = TENANT) -> StoredCalibration:
    return repository.propose_calibration(tenant_id, model_id, {"format": 2}, {"cllr_saved": 0.1})


def in_force(repository: Repository, tenant_id: str, model_id: str) -> str | None:
    tenant = repository.find_tenant(tenant_id)
    return tenant.calibrations.get(model_id) if tenant is not None else None


def test_a_proposal_is_stored_and_not_in_force(repository: Repository) -> None:
    made = propose(repository)
    assert (made.status, made.applied_at, made.model_id) == ("proposed", None, MODEL)
    assert repository.get_calibration(TENANT, made.calibration_id) == made
    assert made.content == {"format": 2}
    assert made.figures == {"cllr_saved": 0.1}
    assert in_force(repository, TENANT, MODEL) is None


def test_the_last_applied_is_in_force_for_its_model_and_its_tenant(repository: Repository) -> None:
    first, second, other = propose(repository), propose(repository), propose(repository, OTHER_MODEL)
    repository.set_calibration(TENANT, other.calibration_id, "applied")
    repository.set_calibration(TENANT, first.calibration_id, "applied")
    applied = repository.set_calibration(TENANT, second.calibration_id, "applied")
    assert applied.status == "applied"
    assert applied.applied_at is not None
    assert in_force(repository, TENANT, MODEL) == second.calibration_id
    assert in_force(repository, TENANT, OTHER_MODEL) == other.calibration_id
    assert in_force(repository, "someone-else", MODEL) is None
    assert repository.get_calibration(TENANT, first.calibration_id).status == "retired"
    assert repository.set_calibration(TENANT, second.calibration_id, "applied") == applied
    repository.set_calibration(TENANT, second.calibration_id, "retired")
    assert in_force(repository, TENANT, MODEL) is None
    repository.set_calibration(TENANT, first.calibration_id, "applied")
    assert in_force(repository, TENANT, MODEL) == first.calibration_id


def test_of_several_applied_at_once_one_is_in_force(repository: Repository) -> None:
    ids = [propose(repository).calibration_id for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda each: repository.set_calibration(TENANT, each, "applied"), ids))
    statuses = [repository.get_calibration(TENANT, each).status for each in ids]
    assert sorted(statuses) == ["applied"] + ["retired"] * 5
    assert in_force(repository, TENANT, MODEL) == ids[statuses.index("applied")]


def test_another_tenants_calibration_is_not_there(repository: Repository) -> None:
    theirs = propose(repository, tenant_id="someone-else")
    with pytest.raises(CalibrationNotFound):
        repository.get_calibration(TENANT, theirs.calibration_id)
    with pytest.raises(CalibrationNotFound):
        repository.set_calibration(TENANT, theirs.calibration_id, "applied")
    assert repository.list_calibrations(TENANT, cursor=None, limit=10) == ([], None)


def test_pages_run_from_the_newest_to_the_oldest(repository: Repository) -> None:
    ids = [propose(repository).calibration_id for _ in range(5)]
    found, cursor = [], None
    for _ in range(3):
        page, cursor = repository.list_calibrations(TENANT, cursor=cursor, limit=2)
        found += [each.calibration_id for each in page]
    assert (found, cursor) == (ids[::-1], None)
    with pytest.raises(ValidationFailed):
        repository.list_calibrations(TENANT, cursor="nonsense", limit=2)


def test_every_act_is_in_the_audit_log(repository: Repository) -> None:
    made = propose(repository)
    repository.set_calibration(TENANT, made.calibration_id, "applied")
    repository.set_calibration(TENANT, made.calibration_id, "retired")
    entries, _ = repository.list_audit(TENANT, cursor=None, limit=10)
    assert [entry.action for entry in entries] == [
        "calibration.proposed",
        "calibration.applied",
        "calibration.retired",
    ]
    assert {entry.facts["calibration_id"] for entry in entries} == {made.calibration_id}


def test_the_takes_of_a_gallery_are_those_of_the_tenant_and_the_model(repository: Repository) -> None:
    ada = repository.add_enrollments(TENANT, "ada", MODEL, [take(1), take(2, speech_s=3.5)]).speaker
    bob = repository.add_enrollments(TENANT, "bob", MODEL, [take(3)]).speaker
    repository.add_enrollments(TENANT, "cleo", OTHER_MODEL, [take(4)])
    repository.add_enrollments("someone-else", "dan", MODEL, [take(5)])
    takes = repository.takes_of_gallery(TENANT, MODEL, 10)
    assert [(each.speaker_key, each.speech_s) for each in takes] == [
        (ada.key, 2.5),
        (ada.key, 3.5),
        (bob.key, 2.5),
    ]
    for found, seed in zip(takes, (1, 2, 3), strict=True):
        np.testing.assert_array_equal(found.embedding, take(seed).embedding)


def test_of_a_large_gallery_speakers_are_drawn_with_all_their_takes(repository: Repository) -> None:
    for number in range(6):
        repository.add_enrollments(TENANT, f"s{number}", MODEL, [take(2 * number), take(2 * number + 1)])
    drawn = repository.takes_of_gallery(TENANT, MODEL, 3)
    keys = [each.speaker_key for each in drawn]
    assert len(drawn) == 6
    assert all(keys.count(key) == 2 for key in keys)
    assert [each.speaker_key for each in repository.takes_of_gallery(TENANT, MODEL, 3)] == keys
    draws = {
        tuple(each.speaker_key for each in repository.takes_of_gallery(TENANT, MODEL, 3, seed))
        for seed in range(5)
    }
    assert len(draws) > 1
