"""What a confirmed decision says about errors, kind by kind."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.service.decided import Compared, Decided
from app.service.feedback import ErrorShare, confirmed
from app.store.records import StoredSpeaker

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
ADA, BRUNO = Compared(1, "ada", 0.8, 5.0), Compared(2, "bruno", 0.5, 6.0)
SEARCH = Decided(
    kind="identify",
    tenant_id="default",
    model_id="tiny",
    outcome="match",
    speech_s=2.0,
    threshold=0.6,
    compared=(ADA, BRUNO),
    gallery_size=2,
    at=NOON,
)
CLAIM = replace(SEARCH, kind="verify", outcome="accept", compared=(ADA,), gallery_size=None)


def speaker(key: int, name: str, created: datetime = NOON - timedelta(days=1)) -> StoredSpeaker:
    return StoredSpeaker(
        key=key,
        tenant_id="default",
        speaker_id=name,
        display_name=None,
        metadata={},
        consent=None,
        created_at=created,
        updated_at=created,
        version=1,
    )


@pytest.mark.parametrize(
    ("outcome", "truth", "same", "correct"),
    [
        ("accept", speaker(1, "ada"), True, True),
        ("reject", speaker(1, "ada"), True, False),
        ("accept", speaker(2, "bruno"), False, False),
        ("reject", speaker(2, "bruno"), False, True),
        ("accept", None, False, False),
        ("reject", None, False, True),
    ],
)
def test_a_verification_is_the_trial_of_the_claimed_speaker(
    outcome: str, truth: StoredSpeaker | None, same: bool, correct: bool
) -> None:
    row, said = confirmed(replace(CLAIM, outcome=outcome), truth)
    assert row is not None
    assert (row.same, row.correct, said) == (same, correct, correct)
    assert (row.speaker_key, row.similarity, row.enrolled_speech_s) == (1, 0.8, 5.0)


@pytest.mark.parametrize(
    ("outcome", "truth", "correct", "similarity"),
    [
        ("match", speaker(1, "ada"), True, 0.8),
        ("match", speaker(2, "bruno"), False, 0.5),  # it named ada
        ("unknown", speaker(1, "ada"), False, 0.8),
        ("ambiguous", speaker(1, "ada"), False, 0.8),
        ("match", speaker(3, "cleo"), False, None),  # enrolled, but came too far down to be told
    ],
)
def test_a_search_for_somebody_enrolled_is_the_trial_of_the_true_speaker(
    outcome: str, truth: StoredSpeaker, correct: bool, similarity: float | None
) -> None:
    row, said = confirmed(replace(SEARCH, outcome=outcome), truth)
    assert row is not None
    assert (row.same, row.correct, said) == (True, correct, correct)
    assert (row.speaker_key, row.similarity) == (truth.key, similarity)
    assert (row.enrolled_speech_s is None) == (similarity is None)


@pytest.mark.parametrize("outcome", ["match", "unknown", "ambiguous"])
@pytest.mark.parametrize(
    ("truth", "filtered"),
    [
        (None, False),
        (speaker(3, "cleo", NOON + timedelta(seconds=1)), False),  # enrolled after the search
        (speaker(3, "cleo"), True),  # enrolled, and not among those who were searched
    ],
)
def test_a_search_for_somebody_else_is_counted_and_is_no_trial(
    outcome: str, truth: StoredSpeaker | None, filtered: bool
) -> None:
    row, said = confirmed(replace(SEARCH, outcome=outcome, filtered=filtered), truth)
    assert row is not None
    assert (row.same, row.speaker_key) == (False, 1)
    assert row.correct is said is (outcome != "match")


def test_a_search_of_nobody_leaves_nothing() -> None:
    empty = replace(SEARCH, outcome="unknown", compared=(), gallery_size=0)
    for truth in (None, speaker(3, "cleo")):
        assert confirmed(empty, truth) == (None, True)


def test_shares_have_intervals_as_soon_as_there_is_something_to_share() -> None:
    assert (ErrorShare(0, 0).rate, ErrorShare(0, 0).interval) == (None, None)
    share = ErrorShare(100, 0)
    assert share.rate == 0.0
    assert share.interval == pytest.approx((0.0, 0.037), abs=0.001)  # near the rule of three
