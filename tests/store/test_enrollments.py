"""Enrolling and taking back: what is stored, what is answered, what never changes."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from app.errors import EnrollmentNotFound, SpeakerExists, SpeakerNotFound, ValidationFailed
from app.store import Holding, Repository
from tests.store.makers import MODEL, OTHER_MODEL, TENANT, take, voice


def test_a_new_speaker_holds_what_was_given(repository: Repository) -> None:
    before = datetime.now(UTC)
    enrolled = repository.add_enrollments(
        TENANT,
        "anna",
        MODEL,
        [take(1), take(2, speech_s=4.0)],
        display_name="Anna Ø 安娜",
        metadata={"group": "home", "depth": {"list": [1, None, "x"]}},
        consent={"given_at": "2025-01-01T00:00:00Z"},
    )
    assert enrolled.created
    assert enrolled.speaker.holdings == (Holding(MODEL, 6.5, 2),)
    assert [e.duplicate for e in enrolled.enrollments] == [False, False]
    assert enrolled.centroid.enrollments_count == 2
    assert enrolled.centroid.speaker_key == enrolled.speaker.key

    speaker = repository.get_speaker(TENANT, "anna")
    assert speaker == enrolled.speaker
    assert speaker.display_name == "Anna Ø 安娜"
    assert speaker.metadata == {"group": "home", "depth": {"list": [1, None, "x"]}}
    assert speaker.consent == {"given_at": "2025-01-01T00:00:00Z"}
    assert speaker.version == 1
    assert speaker.created_at.utcoffset() == timedelta(0)
    assert before <= speaker.created_at <= datetime.now(UTC)

    first, second = repository.list_enrollments(TENANT, "anna")
    np.testing.assert_array_equal(first.embedding, voice(1))
    assert first.embedding.dtype == np.float32
    assert first.audio == take(1).audio
    assert (second.speech_s, second.duration_s, second.quality) == (4.0, 4.5, 0.9)
    assert (first.enrollment_id, second.enrollment_id) == tuple(e.enrollment_id for e in enrolled.enrollments)
    assert first.created_at < second.created_at


def test_the_same_clip_is_not_stored_twice(repository: Repository) -> None:
    first = repository.add_enrollments(TENANT, "anna", MODEL, [take(1), take(1)])
    assert [e.duplicate for e in first.enrollments] == [False, True]
    again = repository.add_enrollments(TENANT, "anna", MODEL, [take(1), take(2)])
    assert [e.duplicate for e in again.enrollments] == [True, False]
    assert again.enrollments[0].enrollment_id == first.enrollments[0].enrollment_id
    assert len(repository.list_enrollments(TENANT, "anna")) == 2


def test_a_repeated_request_changes_nothing(repository: Repository) -> None:
    first = repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    again = repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    assert again.speaker == first.speaker
    assert again.centroid.version == first.centroid.version
    assert not again.created


def test_the_same_clip_may_serve_two_speakers_and_two_models(repository: Repository) -> None:
    for speaker_id, model_id in (("anna", MODEL), ("anna", OTHER_MODEL), ("ben", MODEL)):
        enrolled = repository.add_enrollments(TENANT, speaker_id, model_id, [take(1)])
        assert not enrolled.enrollments[0].duplicate
    assert [h.model_id for h in repository.get_speaker(TENANT, "anna").holdings] == [MODEL, OTHER_MODEL]
    assert [e.model_id for e in repository.list_enrollments(TENANT, "anna", OTHER_MODEL)] == [OTHER_MODEL]


def test_tenants_do_not_see_each_other(repository: Repository) -> None:
    repository.add_enrollments("one", "anna", MODEL, [take(1)])
    mine = repository.add_enrollments("two", "anna", MODEL, [take(2)]).enrollments[0]
    assert repository.list_speakers("three").speakers == ()
    assert repository.changes_since("three", MODEL, 0) == (0, [])
    with pytest.raises(EnrollmentNotFound):
        repository.delete_enrollment("one", "anna", mine.enrollment_id)
    assert repository.delete_speaker("one", "anna")
    assert repository.get_speaker("two", "anna").held(MODEL).enrollments_count == 1


def test_append_is_the_default_and_leaves_what_is_not_given(repository: Repository) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)], display_name="Anna", metadata={"a": 1})
    enrolled = repository.add_enrollments(TENANT, "anna", MODEL, [take(2)], metadata={"b": 2})
    assert enrolled.speaker.display_name == "Anna"
    assert enrolled.speaker.metadata == {"b": 2}
    assert enrolled.speaker.version == 2
    assert enrolled.centroid.enrollments_count == 2


def test_replace_removes_the_recordings_of_every_model(repository: Repository) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1), take(2)])
    repository.add_enrollments(TENANT, "anna", OTHER_MODEL, [take(1)])
    other_before = repository.changes_since(TENANT, OTHER_MODEL, 0).version
    enrolled = repository.add_enrollments(TENANT, "anna", MODEL, [take(1), take(3)], on_existing="replace")
    assert not enrolled.created
    assert [e.duplicate for e in enrolled.enrollments] == [False, False]
    assert enrolled.speaker.holdings == (Holding(MODEL, 5.0, 2),)
    assert repository.centroid_of(TENANT, OTHER_MODEL, "anna") is None
    key = enrolled.speaker.key
    assert repository.changes_since(TENANT, OTHER_MODEL, other_before).changes == [(key, None, 0.0)]


def test_replace_creates_a_new_speaker(repository: Repository) -> None:
    assert repository.add_enrollments(TENANT, "anna", MODEL, [take(1)], on_existing="replace").created


def test_fail_refuses_a_speaker_that_exists_and_stores_nothing(repository: Repository) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)], on_existing="fail")
    before = repository.get_speaker(TENANT, "anna")
    with pytest.raises(SpeakerExists):
        repository.add_enrollments(TENANT, "anna", MODEL, [take(2)], on_existing="fail", display_name="X")
    assert repository.get_speaker(TENANT, "anna") == before
    assert len(repository.list_enrollments(TENANT, "anna")) == 1


def test_nothing_is_stored_when_one_row_cannot_be(repository: Repository) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    with pytest.raises(ValueError, match="same shape"):  # the mean of two dimensions
        repository.add_enrollments(TENANT, "anna", MODEL, [take(2), take(3, embedding=voice(3, dim=7))])
    assert len(repository.list_enrollments(TENANT, "anna")) == 1
    with pytest.raises(ValueError, match="at least one"):
        repository.add_enrollments(TENANT, "ben", MODEL, [])
    with pytest.raises(SpeakerNotFound):
        repository.get_speaker(TENANT, "ben")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("display_name", "nul \0"),
        ("display_name", "half a pair \ud800"),
        ("metadata", {"deep": ["nul \0"]}),
        ("metadata", {"half \udfff": 1}),
        ("metadata", {"number": float("nan")}),
        ("consent", {"what": b"bytes"}),
    ],
)
def test_what_one_database_could_not_hold_is_refused_on_both(
    repository: Repository, field: str, value: object
) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        repository.add_enrollments(TENANT, "anna", MODEL, [take(1)], **{field: value})  # type: ignore[arg-type]
    assert refusal.value.field == field


def test_a_backslash_that_looks_like_nul_is_held(repository: Repository) -> None:
    name = "C:\\u0000 \\\\u0000"
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)], metadata={"path": name}, display_name=name)
    speaker = repository.get_speaker(TENANT, "anna")
    assert (speaker.metadata["path"], speaker.display_name) == (name, name)


def test_deleting_an_enrollment_leaves_the_others(repository: Repository) -> None:
    enrolled = repository.add_enrollments(TENANT, "anna", MODEL, [take(1), take(2, speech_s=4.0)])
    speaker = repository.delete_enrollment(TENANT, "anna", enrolled.enrollments[0].enrollment_id)
    assert speaker.holdings == (Holding(MODEL, 4.0, 1),)
    assert speaker.version == 2
    centroid = repository.centroid_of(TENANT, MODEL, "anna")
    assert centroid is not None
    np.testing.assert_allclose(centroid.embedding, voice(2), atol=1e-7)


def test_deleting_the_last_enrollment_leaves_the_speaker_and_a_tombstone(repository: Repository) -> None:
    enrolled = repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    speaker = repository.delete_enrollment(TENANT, "anna", enrolled.enrollments[0].enrollment_id)
    assert speaker.holdings == ()
    assert speaker.held(MODEL) == Holding(MODEL, 0.0, 0)
    assert repository.centroid_of(TENANT, MODEL, "anna") is None
    assert repository.centroids_by_key(TENANT, MODEL, [speaker.key]) == []
    assert repository.count_enrolled(TENANT, MODEL) == 0
    news = repository.changes_since(TENANT, MODEL, enrolled.centroid.version)
    assert news.changes == [(speaker.key, None, 0.0)]
    back = repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    assert not back.created
    assert repository.changes_since(TENANT, MODEL, news.version).changes[0].speaker_key == speaker.key


def test_deleting_what_is_not_there_names_what_is_missing(repository: Repository) -> None:
    with pytest.raises(SpeakerNotFound):
        repository.delete_enrollment(TENANT, "anna", "none")
    with pytest.raises(SpeakerNotFound):
        repository.list_enrollments(TENANT, "anna")
    mine = repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    repository.add_enrollments(TENANT, "ben", MODEL, [take(2)])
    with pytest.raises(EnrollmentNotFound):
        repository.delete_enrollment(TENANT, "ben", mine.enrollments[0].enrollment_id)
    assert len(repository.list_enrollments(TENANT, "anna")) == 1


@pytest.mark.parametrize("column", ["embedding", "speech_s", "created_at", "model_id", "audio"])
def test_the_database_refuses_to_change_an_enrollment(
    repository: Repository, engine: Engine, column: str
) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    with (
        pytest.raises(DBAPIError, match=re.escape("enrollments are immutable")),
        engine.begin() as connection,
    ):
        connection.execute(text(f"UPDATE enrollments SET {column} = {column}"))


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding": voice(1) * 2},
        {"embedding": np.full(192, np.nan, np.float32)},
        {"embedding": np.zeros(192, np.float32)},
        {"embedding": voice(1)[None]},
        {"speech_s": 0.0},
        {"speech_s": float("inf")},
        {"audio_sha256": "ABC"},
    ],
)
def test_a_recording_that_makes_no_sense_is_refused_before_the_database(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"enrollment needs|audio_sha256"):
        take(1, **changes)
