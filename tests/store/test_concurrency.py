"""Many writers at once, in threads and in another process: nothing is lost, nothing is missed."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event

from app.arrays import Embedding
from app.errors import SpeakerExists, SpeakerNotFound, TimbreError
from app.scoring import centroid
from app.store import By, Repository, make_engine
from tests.store.makers import MODEL, OTHER_MODEL, TENANT, VAULT, take, voice

WRITERS = 6


def at_once(jobs: Sequence[Callable[..., object]]) -> list[object]:
    """Runs the jobs in threads that start together; an exception is the job's result."""
    start = threading.Barrier(len(jobs))

    def run(job: Callable[..., object]) -> object:
        start.wait(timeout=30)
        try:
            return job()
        except TimbreError as refusal:
            return refusal

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def follow(repository: Repository, version: int, cache: dict[int, Embedding]) -> int:
    version, news = repository.changes_since(TENANT, MODEL, version)
    for key, embedding, _ in news:
        if embedding is None:
            cache.pop(key, None)
        else:
            cache[key] = embedding
    return version


def truth(repository: Repository) -> dict[int, bytes]:
    """Every centroid, recomputed from the enrollment rows."""
    found = {}
    for speaker in repository.list_speakers(TENANT, limit=1000).speakers:
        rows = repository.list_enrollments(TENANT, speaker.speaker_id, MODEL)
        if rows:
            mean = centroid(np.stack([r.embedding for r in rows]), [r.speech_s for r in rows])
            found[speaker.key] = mean.tobytes()
    return found


def test_enrolling_one_speaker_at_once_loses_no_clip(repository: Repository) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(100)])
    jobs = [
        lambda i=i: [repository.add_enrollments(TENANT, "anna", MODEL, [take(10 * i + j)]) for j in range(4)]
        for i in range(WRITERS)
    ]
    assert not [r for r in at_once(jobs) if isinstance(r, TimbreError)]
    speaker = repository.get_speaker(TENANT, "anna")
    assert speaker.held(MODEL).enrollments_count == 4 * WRITERS + 1
    assert speaker.version == 4 * WRITERS + 1
    stored = repository.centroid_of(TENANT, MODEL, "anna")
    assert stored is not None
    assert truth(repository) == {speaker.key: stored.embedding.tobytes()}


def test_first_enrollments_of_one_new_speaker_all_land(repository: Repository) -> None:
    for name in ("anna", "ben", "carl"):
        jobs = [
            lambda i=i, name=name: repository.add_enrollments(TENANT, name, MODEL, [take(i)])
            for i in range(WRITERS)
        ]
        outcomes = at_once(jobs)
        assert sum(outcome.created for outcome in outcomes) == 1  # type: ignore[attr-defined]
        assert repository.get_speaker(TENANT, name).held(MODEL).enrollments_count == WRITERS


def test_first_enrollments_under_two_models_both_land(repository: Repository) -> None:
    """No gallery lock is shared here: only the unique name of the speaker brings the two together."""
    for round_ in range(10):
        name = f"anna-{round_}"
        outcomes = at_once(
            [
                lambda name=name, model=model: repository.add_enrollments(TENANT, name, model, [take(1)])
                for model in (MODEL, OTHER_MODEL)
            ]
        )
        assert not [r for r in outcomes if isinstance(r, TimbreError)]
        assert len(repository.get_speaker(TENANT, name).holdings) == 2


def test_the_same_new_clip_at_once_is_stored_once(repository: Repository) -> None:
    outcomes = at_once([lambda: repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])] * WRITERS)
    fresh = [o for o in outcomes if not o.enrollments[0].duplicate]  # type: ignore[attr-defined]
    assert len(fresh) == 1
    assert len(repository.list_enrollments(TENANT, "anna")) == 1


def test_of_many_that_must_be_first_one_is(repository: Repository) -> None:
    jobs = [
        lambda i=i: repository.add_enrollments(TENANT, "anna", MODEL, [take(i)], on_existing="fail")
        for i in range(WRITERS)
    ]
    outcomes = at_once(jobs)
    assert sum(isinstance(outcome, SpeakerExists) for outcome in outcomes) == WRITERS - 1
    assert len(repository.list_enrollments(TENANT, "anna")) == 1


def test_a_reader_that_polls_misses_no_change(repository: Repository, database_url: str) -> None:
    """Writers add, take back and delete over both models while a second engine follows one gallery."""

    def write(i: int) -> None:
        random = np.random.default_rng(i)
        for step in range(12):
            name = f"speaker-{random.integers(5)}"
            choice = random.random()
            if choice < 0.15:
                repository.delete_speaker(TENANT, name)
            elif choice < 0.3:
                repository.add_enrollments(
                    TENANT, name, MODEL, [take(1000 * i + step)], on_existing="replace"
                )
            else:
                model = MODEL if choice < 0.8 else OTHER_MODEL
                repository.add_enrollments(TENANT, name, model, [take(1000 * i + step)])

    reader_engine = make_engine(database_url)
    reader, cache, version, seen = Repository(reader_engine, VAULT), {}, 0, []
    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            writers = [pool.submit(write, i) for i in range(WRITERS)]
            while not all(writer.done() for writer in writers):
                version = follow(reader, version, cache)
                seen.append(version)
                time.sleep(0.002)
        for writer in writers:
            writer.result()
        follow(reader, version, cache)
        assert {key: embedding.tobytes() for key, embedding in cache.items()} == truth(repository)
        assert seen == sorted(seen)
        assert len(set(seen)) > 5, "the reader hardly ran beside the writers"
    finally:
        reader_engine.dispose()


def test_a_reader_sees_one_moment(repository: Repository, database_url: str) -> None:
    """Deleted between the two statements of one reader, a speaker was there with its clips, or not at all."""
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    slow = make_engine(database_url)
    statements: list[str] = []

    @event.listens_for(slow, "after_cursor_execute")
    def overtaken(*arguments: Any) -> None:
        if arguments[2].startswith("SELECT"):  # the moment is that of the first; SQLite's BEGIN is none yet
            statements.append(arguments[2])
            if len(statements) == 1:
                repository.delete_speaker(TENANT, "anna")

    try:
        seen = Repository(slow, VAULT).get_speaker(TENANT, "anna")
        assert len(statements) == 2
        assert seen.held(MODEL).enrollments_count == 1
        with pytest.raises(SpeakerNotFound):
            Repository(slow, VAULT).get_speaker(TENANT, "anna")
    finally:
        slow.dispose()


def test_the_log_stays_one_chain_while_many_write(repository: Repository) -> None:
    def work(i: int) -> None:
        for step in range(6):
            name = f"speaker-{(i + step) % 4}"
            repository.add_enrollments(TENANT, name, MODEL, [take(100 * i + step)])
            repository.append_audit(TENANT, By(f"key-{i}"), "voice.verified", name)
            if step % 3 == 2:
                repository.delete_speaker(TENANT, name)

    assert not [
        r for r in at_once([lambda i=i: work(i) for i in range(WRITERS)]) if isinstance(r, TimbreError)
    ]
    chain = repository.check_audit(TENANT)
    assert chain.broken_at is None
    assert chain.entries >= 12 * WRITERS
    entries, cursor = repository.list_audit(TENANT, cursor=None, limit=1000)
    assert cursor is None
    assert [entry.number for entry in entries] == list(range(1, chain.entries + 1))
    assert entries[-1].hash == chain.head


def test_failures_that_come_at_once_all_count(repository: Repository) -> None:
    key = repository.add_enrollments(TENANT, "anna", MODEL, [take(1)]).speaker.key
    at_once([lambda: repository.count_failure(key, 5, 30.0, 3600.0)] * WRITERS)
    known = repository.centroid_of(TENANT, MODEL, "anna")
    assert known is not None
    lock = known.lock
    assert lock.failures == WRITERS
    assert (lock.locked_until is not None) == (WRITERS >= 5)
    repository.delete_speaker(TENANT, "anna")
    assert repository.count_failure(key, 5, 30.0, 3600.0) == (0, None), "nobody is left to lock"


def test_merging_both_ways_at_once_leaves_one_speaker_with_everything(repository: Repository) -> None:
    for round_ in range(4):
        pair = f"anna-{round_}", f"ben-{round_}"
        for place, name in enumerate(pair):
            rows = [take(100 * round_ + 10 * place + i) for i in range(3)]
            repository.add_enrollments(TENANT, name, MODEL, rows)
        outcomes = at_once(
            [
                lambda pair=pair: repository.merge_speakers(TENANT, *pair),
                lambda pair=pair: repository.merge_speakers(TENANT, *reversed(pair)),
            ]
        )
        assert sum(isinstance(outcome, SpeakerNotFound) for outcome in outcomes) == 1
        left = [s for s in repository.list_speakers(TENANT, limit=1000).speakers if s.speaker_id in pair]
        assert [speaker.held(MODEL).enrollments_count for speaker in left] == [6]


# ---------------------------------------------------------------- another process


def other_process(url: str, pipe: Connection) -> None:
    """Does what it is told on its own engine and answers what it sees."""
    engine = make_engine(url)
    repository = Repository(engine, VAULT)
    try:
        while True:
            method, arguments = pipe.recv()
            if method == "stop":
                return
            pipe.send(getattr(repository, method)(*arguments))
    finally:
        engine.dispose()


def test_two_processes_see_each_other_at_once(repository: Repository, database_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=other_process, args=(database_url, there))
    process.start()

    def ask(method: str, *arguments: object) -> Any:
        here.send((method, arguments))
        assert here.poll(60), "the other process does not answer"
        return here.recv()

    try:
        assert ask("changes_since", TENANT, MODEL, 0) == (0, [])
        key = repository.add_enrollments(TENANT, "anna", MODEL, [take(1)]).speaker.key
        version, news = ask("changes_since", TENANT, MODEL, 0)
        assert [(change.speaker_key, change.embedding.tobytes()) for change in news] == [
            (key, voice(1).tobytes())
        ]
        ask("add_enrollments", TENANT, "ben", MODEL, [take(2)])
        assert repository.centroid_of(TENANT, MODEL, "ben") is not None
        assert repository.delete_speaker(TENANT, "anna")
        assert ask("centroid_of", TENANT, MODEL, "anna") is None
        assert ask("centroids_by_key", TENANT, MODEL, [key]) == []
        later = ask("changes_since", TENANT, MODEL, version)
        assert (key, None, 0.0) in later.changes
        assert ask("delete_speaker", TENANT, "ben") is not None
        assert repository.centroid_of(TENANT, MODEL, "ben") is None
        assert repository.changes_since(TENANT, MODEL, 0).changes == []
    finally:
        here.send(("stop", ()))
        process.join(30)
        here.close()
        there.close()
    assert process.exitcode == 0
    process.close()


@pytest.mark.parametrize("rounds", [15])
def test_deleting_while_another_model_enrolls_leaves_no_orphan(repository: Repository, rounds: int) -> None:
    """The deletion locks the galleries it knows; a model that comes in between must not slip through."""
    for round_ in range(rounds):
        name, new_model = f"anna-{round_}", f"new-model-{round_}"
        repository.add_enrollments(TENANT, name, MODEL, [take(1)])
        outcomes = at_once(
            [
                lambda name=name: repository.delete_speaker(TENANT, name),
                lambda name=name, model=new_model: repository.add_enrollments(TENANT, name, model, [take(2)]),
            ]
        )
        assert not [r for r in outcomes if isinstance(r, TimbreError)]
        alive = {s.key for s in repository.list_speakers(TENANT, limit=1000).speakers}
        told = {change.speaker_key for change in repository.changes_since(TENANT, new_model, 0).changes}
        assert told <= alive
        assert repository.centroid_of(TENANT, MODEL, name) is None
