"""What was said of decisions: one row for each, and none of a voice that is gone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.errors import SpeakerNotFound
from app.store import Repository
from app.store.feedback import Confirmed
from tests.store.makers import MODEL, OTHER_MODEL, TENANT, take

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def confirmed(speaker_key: int, number: int = 0, **changes: object) -> Confirmed:
    row = Confirmed(
        decision=f"{number:032x}",
        model_id=MODEL,
        speaker_key=speaker_key,
        speaker_id="ada",
        kind="identify",
        outcome="match",
        same=True,
        correct=True,
        gallery_size=4,
        similarity=0.7,
        enrolled_speech_s=5.5,
        speech_s=2.5,
        decided_at=NOON + timedelta(minutes=number),
    )
    return replace(row, **changes)  # type: ignore[arg-type]


@pytest.fixture
def ada(repository: Repository) -> int:
    return repository.add_enrollments(TENANT, "ada", MODEL, [take(1)]).speaker.key


def test_what_was_said_is_read_the_newest_first_and_without_the_name(
    repository: Repository, ada: int
) -> None:
    rows = [confirmed(ada, number) for number in range(3)]
    unheard = confirmed(ada, 3, similarity=None, enrolled_speech_s=None, gallery_size=None, same=False)
    for row in (*rows, unheard):
        assert repository.put_feedback(TENANT, row) is False
    found = repository.list_feedback(TENANT, MODEL, 10)
    assert found == [replace(row, speaker_id="") for row in (unheard, *rows[::-1])]
    assert len(repository.list_feedback(TENANT, MODEL, 2)) == 2
    assert repository.list_feedback(TENANT, OTHER_MODEL, 10) == []
    assert repository.list_feedback("someone-else", MODEL, 10) == []


def test_a_later_word_takes_the_place_of_an_earlier_one(repository: Repository, ada: int) -> None:
    bob = repository.add_enrollments(TENANT, "bob", MODEL, [take(2)]).speaker.key
    repository.put_feedback(TENANT, confirmed(ada))
    changed = confirmed(bob, correct=False, similarity=0.2, speaker_id="bob")
    assert repository.put_feedback(TENANT, changed) is True
    assert repository.list_feedback(TENANT, MODEL, 10) == [replace(changed, speaker_id="")]
    entries, _ = repository.list_audit(TENANT, cursor=None, limit=10)
    said = [entry.facts for entry in entries if entry.action == "decision.confirmed"]
    assert [fact["replaced"] for fact in said] == [False, True]
    assert "bob" not in str(said)


def test_what_was_said_is_counted_by_kind(repository: Repository, ada: int) -> None:
    rows = [
        confirmed(ada, 0),
        confirmed(ada, 1),
        confirmed(ada, 2, correct=False),
        confirmed(ada, 3, kind="verify", outcome="accept", same=False, correct=False),
        confirmed(ada, 4, model_id=OTHER_MODEL),
    ]
    for row in rows:
        repository.put_feedback(TENANT, row)
    assert sorted(repository.count_feedback(TENANT, MODEL)) == [
        ("identify", True, False, 1),
        ("identify", True, True, 2),
        ("verify", False, False, 1),
    ]
    assert repository.count_feedback("someone-else", MODEL) == []


def test_of_somebody_who_is_not_there_nothing_is_kept(repository: Repository, ada: int) -> None:
    with pytest.raises(SpeakerNotFound):
        repository.put_feedback("someone-else", confirmed(ada))
    repository.put_feedback(TENANT, confirmed(ada))
    repository.delete_speaker(TENANT, "ada")
    assert repository.list_feedback(TENANT, MODEL, 10) == []
    with pytest.raises(SpeakerNotFound, match="ada"):
        repository.put_feedback(TENANT, confirmed(ada))
