"""Jobs: one worker at a time, nothing lost in a crash, no name left after a deletion."""

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from app.errors import JobNotFound, JobRunning, ValidationFailed
from app.store import By, Repository
from app.store.job_records import JobKind, JobLost, NewRow, SpeakersChanged, Step, StoredJob
from tests.store.makers import MODEL, TENANT, VAULT, take

ME = By("tester")
FOREVER = 3600.0


def anything(_: StoredJob) -> bool:
    return True


def queue(repository: Repository, number: int = 0, kind: JobKind = "import", **wish: object) -> str:
    job_id = f"{number:032x}"
    repository.create_job(TENANT, job_id, kind, by=ME, wish={"key": "aa", **wish})
    return job_id


def test_a_job_goes_from_the_queue_to_its_end(repository: Repository) -> None:
    job_id = queue(repository, bytes=17)
    repository.add_enrollments(TENANT, "ada", MODEL, [take(1)])
    claim = repository.claim_job("one", FOREVER, anything)
    assert claim is not None
    assert not claim.resumed
    assert claim.job.status == "running"
    rows = (
        NewRow(number=1, outcome="accepted", speaker_id="ada", enrollment_id="e1"),
        NewRow(number=2, outcome="refused", speaker_id="bob", code="no_speech", detail="none"),
    )
    repository.advance_job(job_id, "one", Step(rows=rows, total=3))
    step = Step(rows=(NewRow(number=3, outcome="accepted"),), notes={"at": {"place": 3}})
    job = repository.advance_job(job_id, "one", step)
    assert (job.done, job.total, job.counts) == (3, 3, {"accepted": 2, "refused": 1})
    assert job.wish == {"key": "aa", "bytes": 17, "at": {"place": 3}}
    ended = repository.end_job(job_id, "one", "succeeded")
    assert ended.status == "succeeded"
    assert ended.wish == {"bytes": 17}, "without its key, nothing of the file can be read"
    assert repository.list_rows(TENANT, job_id).rows[:2] == rows
    assert repository.rows_with(job_id, {"e1", "e2"}) == {"e1"}
    assert repository.claim_job("one", FOREVER, anything) is None


def test_of_many_workers_one_gets_a_job(repository: Repository) -> None:
    jobs = [queue(repository, number) for number in range(6)]
    taken: list[str] = []
    start = threading.Barrier(4)

    def work(name: str) -> None:
        start.wait()
        while (claim := repository.claim_job(name, FOREVER, anything)) is not None:
            taken.append(claim.job.job_id)

    threads = [threading.Thread(target=work, args=(f"worker {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(taken) == Counter(jobs)


def test_a_row_does_not_name_who_was_deleted_before_it_was_stored(repository: Repository) -> None:
    (stored,) = repository.add_enrollments(TENANT, "ada", MODEL, [take(1)]).enrollments
    repository.add_enrollments("other", "ada", MODEL, [take(1)])
    repository.add_enrollments(TENANT, "bob", MODEL, [take(2)])
    job_id = queue(repository)
    repository.claim_job("one", FOREVER, anything)
    repository.delete_speaker(TENANT, "ada")
    ada = NewRow(number=1, outcome="accepted", speaker_id="ada", enrollment_id=stored.enrollment_id)
    bob = NewRow(number=2, outcome="accepted", speaker_id="bob", enrollment_id="e")
    repository.advance_job(job_id, "one", Step(rows=(ada, bob)))
    assert repository.list_rows(TENANT, job_id).rows == (NewRow(number=1, outcome="accepted"), bob)


def test_a_silent_worker_loses_its_job_and_learns_of_it(repository: Repository) -> None:
    job_id = queue(repository)
    assert repository.claim_job("first", FOREVER, anything) is not None
    repository.advance_job(job_id, "first", Step(rows=(NewRow(number=1, outcome="accepted"),)))
    assert repository.claim_job("second", FOREVER, anything) is None, "its worker lives"
    claim = repository.claim_job("second", -1.0, anything)
    assert claim is not None
    assert claim.resumed
    assert claim.job.done == 1
    for attempt in (
        lambda: repository.advance_job(job_id, "first", Step()),
        lambda: repository.release_job(job_id, "first"),
        lambda: repository.end_job(job_id, "first", "failed"),
    ):
        with pytest.raises(JobLost):
            attempt()
    repository.release_job(job_id, "second")
    again = repository.claim_job("third", FOREVER, anything)
    assert again is not None
    assert again.resumed


def test_a_job_that_does_not_fit_is_left_to_others(repository: Repository) -> None:
    here, there = queue(repository, 1), queue(repository, 2)
    claim = repository.claim_job("one", FOREVER, lambda job: job.job_id == there)
    assert claim is not None
    assert claim.job.job_id == there
    assert repository.get_job(TENANT, here).status == "queued"


def test_cancelling_stops_the_worker_and_keeps_what_was_done(repository: Repository) -> None:
    job_id = queue(repository)
    repository.claim_job("one", FOREVER, anything)
    repository.advance_job(job_id, "one", Step(rows=(NewRow(number=1, outcome="accepted"),)))
    with pytest.raises(JobRunning) as refused:
        repository.delete_job(TENANT, job_id, by=ME)
    assert refused.value.status == "running"
    job = repository.cancel_job(TENANT, job_id, by=ME)
    assert (job.status, job.done, job.wish) == ("cancelled", 1, {})
    with pytest.raises(JobLost):
        repository.advance_job(job_id, "one", Step(rows=(NewRow(number=2, outcome="accepted"),)))
    assert len(repository.list_rows(TENANT, job_id).rows) == 1
    assert repository.cancel_job(TENANT, job_id, by=ME).ended_at == job.ended_at
    repository.delete_job(TENANT, job_id, by=ME)
    with pytest.raises(JobNotFound):
        repository.get_job(TENANT, job_id)
    entries, _ = repository.list_audit(TENANT, cursor=None, limit=10)
    assert [entry.action for entry in entries] == ["import.created", "import.cancelled", "import.deleted"]
    assert {entry.actor for entry in entries} == {"tester"}


def test_lists_are_paged_and_belong_to_their_tenant(repository: Repository) -> None:
    jobs = [queue(repository, number, "export" if number % 2 else "import") for number in range(5)]
    repository.create_job("other", f"{99:032x}", "import", by=ME, wish={})
    found, cursor = [], None
    while True:
        page = repository.list_jobs(TENANT, cursor=cursor, limit=2)
        found += [job.job_id for job in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == jobs[::-1]
    assert [job.job_id for job in repository.list_jobs(TENANT, kind="export").jobs] == [jobs[3], jobs[1]]
    with pytest.raises(JobNotFound):
        repository.get_job("other", jobs[0])
    with pytest.raises(JobNotFound):
        repository.list_rows("other", jobs[0])
    rows = tuple(
        NewRow(number=number, outcome="accepted" if number % 2 else "refused") for number in range(1, 6)
    )
    repository.claim_job("one", FOREVER, lambda job: job.job_id == jobs[0])
    repository.advance_job(jobs[0], "one", Step(rows=rows))
    first = repository.list_rows(TENANT, jobs[0], limit=2, outcome="accepted")
    assert [row.number for row in first.rows] == [1, 3]
    second = repository.list_rows(TENANT, jobs[0], limit=2, outcome="accepted", cursor=first.next_cursor)
    assert [row.number for row in second.rows] == [5]
    assert second.next_cursor is None
    jobs_cursor = repository.list_jobs(TENANT, limit=1).next_cursor
    for cursor in ("", "x", "bnVsbA", jobs_cursor, "é"):
        with pytest.raises(ValidationFailed):
            repository.list_rows(TENANT, jobs[0], cursor=cursor)
    with pytest.raises(ValidationFailed):
        repository.list_jobs(TENANT, cursor=first.next_cursor)


def test_old_exports_lose_their_key_and_old_jobs_go(repository: Repository) -> None:
    job_id, waiting = queue(repository, 1, "export"), queue(repository, 2, "export")
    repository.claim_job("one", FOREVER, lambda job: job.job_id == job_id)
    repository.end_job(job_id, "one", "succeeded", keep_key=True)
    assert repository.keyed_jobs([job_id, waiting, "unknown"]) == {job_id, waiting}
    now = datetime.now(UTC) + timedelta(seconds=1)
    long_ago = now - timedelta(days=1)
    repository.retire_jobs(exports_before=long_ago, ended_before=long_ago)
    assert repository.keyed_jobs([job_id]) == {job_id}
    repository.retire_jobs(exports_before=now, ended_before=long_ago)
    assert repository.keyed_jobs([job_id, waiting]) == {waiting}
    assert (repository.get_job(TENANT, job_id).problem or {})["code"] == "export_gone"
    repository.retire_jobs(exports_before=now, ended_before=now)
    with pytest.raises(JobNotFound):
        repository.get_job(TENANT, job_id)
    assert repository.get_job(TENANT, waiting).status == "queued"


def exported(repository: Repository, number: int, speaker_id: str) -> tuple[str, StoredJob]:
    """An export at work, which has written this speaker."""
    job_id = queue(repository, number, "export")
    repository.claim_job("one", FOREVER, lambda job: job.job_id == job_id)
    speaker = repository.get_speaker(TENANT, speaker_id)
    step = Step(
        rows=(NewRow(number=1, outcome="exported", speaker_id=speaker_id),),
        notes={"at": {"bytes": 100}},
        speakers={speaker.key: speaker.version},
    )
    return job_id, repository.advance_job(job_id, "one", step)


@pytest.mark.parametrize("deed", ["speaker", "take", "replacement"])
def test_a_deletion_takes_the_name_and_the_exports_along(
    repository: Repository, engine: Engine, deed: str
) -> None:
    takes = repository.add_enrollments(TENANT, "ada", MODEL, [take(1), take(2)]).enrollments
    repository.add_enrollments(TENANT, "bob", MODEL, [take(3)])
    done, _ = exported(repository, 1, "ada")
    repository.end_job(done, "one", "succeeded", keep_key=True)
    at_work, _ = exported(repository, 2, "ada")
    others, _ = exported(repository, 3, "bob")
    imported = queue(repository, 4)
    repository.claim_job("one", FOREVER, anything)
    row = NewRow(number=1, outcome="refused", speaker_id="ada", code="x", detail="Speaker 'ada' …")
    repository.advance_job(imported, "one", Step(rows=(row,)))

    if deed == "speaker":
        repository.delete_speaker(TENANT, "ada")
    elif deed == "take":
        repository.delete_enrollment(TENANT, "ada", takes[0].enrollment_id)
    else:
        repository.add_enrollments(TENANT, "ada", MODEL, [take(4)], on_existing="replace")

    assert "key" not in repository.get_job(TENANT, done).wish
    assert (repository.get_job(TENANT, done).problem or {})["code"] == "export_gone"
    begun_anew = repository.get_job(TENANT, at_work)
    assert (begun_anew.status, begun_anew.done, begun_anew.counts) == ("queued", 0, {})
    assert not {"key", "at"} & set(begun_anew.wish)
    with pytest.raises(JobLost):
        repository.advance_job(at_work, "one", Step())
    assert repository.get_job(TENANT, others).wish["key"] == "aa"
    assert repository.list_rows(TENANT, imported).rows == (NewRow(number=1, outcome="refused", code="x"),)
    with engine.connect() as connection:
        named = connection.execute(text("SELECT count(*) FROM job_rows WHERE speaker_id = 'ada'"))
        assert named.scalar_one() == 0


def test_an_export_does_not_store_what_was_deleted_meanwhile(repository: Repository) -> None:
    repository.add_enrollments(TENANT, "ada", MODEL, [take(1)])
    speaker = repository.get_speaker(TENANT, "ada")
    job_id = queue(repository, 1, "export")
    repository.claim_job("one", FOREVER, anything)
    repository.update_speaker(TENANT, "ada", display_name="Ada")
    row = NewRow(number=1, outcome="exported", speaker_id="ada")
    stale = Step(rows=(row,), speakers={speaker.key: speaker.version})
    with pytest.raises(SpeakersChanged):
        repository.advance_job(job_id, "one", stale)
    repository.delete_speaker(TENANT, "ada")
    with pytest.raises(SpeakersChanged):
        repository.advance_job(job_id, "one", stale)
    assert repository.get_job(TENANT, job_id).done == 0


def test_an_export_waits_for_a_deletion_that_is_on_its_way(repository: Repository, engine: Engine) -> None:
    repository.add_enrollments(TENANT, "ada", MODEL, [take(1)])
    speaker = repository.get_speaker(TENANT, "ada")
    job_id = queue(repository, 1, "export")
    repository.claim_job("one", FOREVER, anything)
    row = NewRow(number=1, outcome="exported", speaker_id="ada")
    ends: list[str] = []

    def export() -> None:
        try:
            repository.advance_job(job_id, "one", Step(rows=(row,), speakers={speaker.key: speaker.version}))
            ends.append("stored")
        except SpeakersChanged:
            ends.append("refused")

    thread = threading.Thread(target=export)
    with engine.execution_options(sqlite_begin="IMMEDIATE").begin() as deletion:
        deletion.execute(text("DELETE FROM speakers WHERE speaker_id = 'ada'"))
        thread.start()
        thread.join(0.5)  # time for doing it wrongly
    thread.join()
    assert ends == ["refused"]


def test_a_deletion_and_an_export_at_once_leave_no_copy(engine: Engine) -> None:
    """Whichever commits first: either the export sees the deletion, or the deletion sees the export."""
    repository = Repository(engine, VAULT)
    for number in range(10):
        name = f"speaker-{number}"
        repository.add_enrollments(TENANT, name, MODEL, [take(number)])
        speaker = repository.get_speaker(TENANT, name)
        job_id = queue(repository, number, "export")
        repository.claim_job("one", FOREVER, lambda job, job_id=job_id: job.job_id == job_id)
        rows = (NewRow(number=1, outcome="exported", speaker_id=name),)
        step = Step(rows=rows, speakers={speaker.key: speaker.version})
        start = threading.Barrier(2)

        def export(job_id: str = job_id, step: Step = step, start: threading.Barrier = start) -> None:
            start.wait()
            try:
                repository.advance_job(job_id, "one", step)
                repository.end_job(job_id, "one", "succeeded", keep_key=True)
            except (SpeakersChanged, JobLost):
                pass

        def delete(name: str = name, start: threading.Barrier = start) -> None:
            start.wait()
            repository.delete_speaker(TENANT, name)

        threads = [threading.Thread(target=work) for work in (export, delete)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        job = repository.get_job(TENANT, job_id)
        assert job.status in {"running", "queued", "succeeded"}
        assert job.done == 0 or "key" not in job.wish
