"""What feedback on a live decision says about the model on trial, and work that nobody waits for."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.errors import Overloaded
from app.service.aside import Aside
from app.service.shadow import was_right
from app.store import By, Repository, make_engine
from app.store.shadow import ShadowRow
from tests.store.makers import MODEL, OTHER_MODEL, TENANT, VAULT

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def row(kind: str, outcome: str, other: str, *, same: bool, correct: bool | None) -> ShadowRow:
    return ShadowRow(
        decision="d",
        kind=kind,
        outcome=outcome,
        shadow_outcome=other,
        score=1.0,
        shadow_score=2.0,
        same_speaker=same,
        decided_at=NOW,
        correct=correct,
    )


@pytest.mark.parametrize(
    ("found", "right"),
    [
        (row("verify", "accept", "accept", same=True, correct=None), None),
        (row("verify", "accept", "accept", same=True, correct=True), True),
        (row("verify", "accept", "accept", same=True, correct=False), False),
        (row("verify", "accept", "reject", same=False, correct=True), False),
        (row("verify", "accept", "reject", same=False, correct=False), True),
        (row("verify", "accept", "no_template", same=False, correct=False), None),
        (row("identify", "match", "match", same=True, correct=False), False),
        (row("identify", "match", "match", same=False, correct=True), False),
        (row("identify", "match", "match", same=False, correct=False), None),
    ],
)
def test_who_was_right(found: ShadowRow, right: bool | None) -> None:
    assert was_right(found) is right


def test_comparisons_are_of_one_pair_of_models_and_go_in_time(database_url: str) -> None:
    engine = make_engine(database_url)
    repository = Repository(engine, VAULT)
    for number, (tenant, model) in enumerate([(TENANT, MODEL), (TENANT, MODEL), ("other", MODEL)]):
        moment = NOW.replace(hour=number)
        found = replace(
            row("verify", "accept", "reject", same=False, correct=None),
            decision=f"d{number}",
            decided_at=moment,
        )
        repository.add_shadow_score(tenant, model, OTHER_MODEL, found)
    assert [each.decision for each in repository.shadow_scores(TENANT, MODEL, OTHER_MODEL)] == ["d1", "d0"]
    assert repository.shadow_scores(TENANT, OTHER_MODEL, MODEL) == []
    repository.retire_shadow_scores(NOW.replace(hour=1))
    assert [each.decision for each in repository.shadow_scores(TENANT, MODEL, OTHER_MODEL)] == ["d1"]
    repository.append_audit(TENANT, By("x"), "y")  # the session is good for more
    engine.dispose()


def test_work_aside_is_dropped_and_never_waited_for() -> None:
    aside = Aside()
    begun, go_on, done = threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        go_on.wait()

    aside.offer(slow)
    assert begun.wait(10)
    first = threading.Event()
    aside.offer(first.set)
    for number in range(11):  # the queue is short
        aside.offer(lambda number=number: done.append(number))
    assert aside.dropped == 4
    last = threading.Event()
    go_on.set()
    assert first.wait(10)
    aside.close()
    assert done == sorted(done)
    aside.offer(last.set)
    assert aside.dropped >= 5
    assert not last.is_set()


def test_a_failure_aside_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    aside, done = Aside(), threading.Event()

    def refused() -> None:
        raise Overloaded(workers=1, waiting=1)

    def broken() -> None:
        raise KeyError("a name that no log may hold")

    for work in (refused, broken, done.set):
        aside.offer(work)
    assert done.wait(10)
    aside.close()
    assert aside.dropped == 2
    assert "a name" not in caplog.text
    assert "KeyError" in caplog.text
