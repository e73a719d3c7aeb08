"""The gallery keeps the index in step with SQL, whatever happened to either."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event

from app.arrays import Embedding
from app.errors import StorageUnavailable
from app.index import FaissIndex, Partition
from app.scoring import ScoreModel, unit
from app.service.gallery import Gallery
from app.store.database import make_engine
from app.store.records import NewEnrollment
from app.store.repository import Repository
from tests.store.makers import VAULT

PARTITION = Partition("default", "tiny@000000000000")
DIM = 16
IDENTITY = ScoreModel(offset=0.0, similarity=1.0)


def voice(seed: int) -> Embedding:
    return unit(np.random.default_rng(seed).normal(size=DIM))


def put(repository: Repository, speaker_id: str, embedding: Embedding, speech_s: float = 5.0) -> None:
    digest = f"{abs(hash((speaker_id, embedding.tobytes()))):064x}"
    row = NewEnrollment(
        embedding=embedding,
        speech_s=speech_s,
        duration_s=speech_s,
        quality=1.0,
        audio={},
        audio_sha256=digest,
    )
    repository.add_enrollments(*PARTITION[:1], speaker_id, PARTITION.model_id, [row])


@pytest.fixture
def repository(database_url: str) -> Iterator[Repository]:
    engine = make_engine(database_url)
    yield Repository(engine, VAULT)
    engine.dispose()


def gallery_of(repository: Repository) -> Gallery:
    return Gallery(repository, FaissIndex(), PARTITION, required_speech_s=4.0)


def test_a_new_gallery_is_rebuilt_from_sql(repository: Repository) -> None:
    for number in range(20):
        put(repository, f"voice-{number}", voice(number))
    gallery = gallery_of(repository)
    assert gallery.size == 0
    gallery.sync()
    assert gallery.size == 20
    nearest = gallery.nearest(voice(7), 3.0, 3, IDENTITY)
    assert nearest.candidates[0].speaker_id == "voice-7"
    assert nearest.candidates[0].similarity == pytest.approx(1.0, abs=1e-6)
    assert (len(nearest.candidates), nearest.gallery_size) == (3, 20)


def test_speakers_with_too_little_speech_are_not_members(repository: Repository) -> None:
    gallery = gallery_of(repository)
    put(repository, "half", voice(1), speech_s=2.0)
    assert gallery.nearest(voice(1), 3.0, 5, IDENTITY).candidates == ()
    put(repository, "half", voice(2), speech_s=2.0)
    assert [each.speaker_id for each in gallery.nearest(voice(1), 3.0, 5, IDENTITY).candidates] == ["half"]


def test_a_candidate_is_what_sql_says_now(repository: Repository) -> None:
    """The index of one process proposes a speaker that another process deletes in between."""
    gallery = gallery_of(repository)
    put(repository, "ada", voice(1))
    put(repository, "bob", voice(2))
    gallery.sync()
    stale = gallery_of(repository)
    stale.sync()
    repository.delete_speaker("default", "ada")
    keys = sorted(stale._keys)
    assert len(stale._confirmed(voice(1), 3.0, keys, IDENTITY)) == 1
    assert [each.speaker_id for each in gallery.nearest(voice(1), 3.0, 5, IDENTITY).candidates] == ["bob"]


def test_an_index_that_lost_rows_is_rebuilt(repository: Repository) -> None:
    gallery = gallery_of(repository)
    put(repository, "ada", voice(1))
    gallery.sync()
    gallery._index.clear(PARTITION)
    assert gallery.size == 0
    gallery.rebuild()
    assert gallery.nearest(voice(1), 3.0, 1, IDENTITY).candidates[0].speaker_id == "ada"


def test_a_restored_backup_is_noticed(repository: Repository) -> None:
    gallery = gallery_of(repository)
    put(repository, "ada", voice(1))
    gallery.sync()
    gallery._version = 10_000
    put(repository, "bob", voice(2))
    assert gallery.nearest(voice(2), 3.0, 1, IDENTITY).candidates[0].speaker_id == "bob"
    assert gallery.size == 2


def test_a_filter_counts_members_only(repository: Repository) -> None:
    gallery = gallery_of(repository)
    put(repository, "ada", voice(1))
    put(repository, "half", voice(2), speech_s=1.0)
    nearest = gallery.nearest(voice(2), 3.0, 5, IDENTITY, speaker_ids=["ada", "half", "nobody"])
    assert (nearest.gallery_size, len(nearest.candidates)) == (1, 1)
    assert gallery.nearest(voice(2), 3.0, 5, IDENTITY, group="none").gallery_size == 0


def all_wait(gallery: Gallery, count: int) -> list[threading.Thread]:
    """Threads that all stand before the gallery's lock, which the caller holds."""

    def search() -> None:
        with suppress(StorageUnavailable):
            gallery.sync()

    threads = [threading.Thread(target=search) for _ in range(count)]
    for thread in threads:
        thread.start()
    while any(sys._current_frames()[thread.ident or 0].f_code.co_name != "sync" for thread in threads):
        time.sleep(0.005)
    return threads


def test_searches_that_wait_ask_the_database_once(repository: Repository) -> None:
    put(repository, "ada", voice(1))
    gallery, asked = gallery_of(repository), []

    @event.listens_for(repository._engine, "after_cursor_execute")
    def count(*arguments: Any) -> None:
        asked.extend([1] if "FROM galleries" in arguments[2] else [])

    with gallery._lock:
        threads = all_wait(gallery, 8)
    for thread in threads:
        thread.join()
    assert (gallery.size, len(asked)) == (1, 1)
    gallery.sync()
    assert len(asked) == 2, "whoever comes later asks anew"


def test_searches_that_wait_for_a_database_that_is_gone_wait_together() -> None:
    """One after the other, each would wait for the same time-out."""
    tried: list[int] = []

    def hang_up(server: socket.socket) -> None:
        with suppress(OSError):  # closed in the end
            while True:
                connection, _ = server.accept()
                tried.append(1)
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=hang_up, args=(server,))
        answering.start()
        engine = make_engine(f"postgresql+psycopg://nobody@127.0.0.1:{server.getsockname()[1]}/none")
        gallery = gallery_of(Repository(engine, VAULT))
        with pytest.raises(StorageUnavailable):
            gallery.sync()
        alone = len(tried)
        with gallery._lock:
            threads = all_wait(gallery, 8)
        for thread in threads:
            thread.join()
        assert len(tried) == 2 * alone, "eight together try as often as one alone"
        engine.dispose()
        server.shutdown(socket.SHUT_RDWR)
    answering.join()


def beside(embedding: Embedding, similarity: float) -> Embedding:
    """A vector at this cosine from `embedding`."""
    aside = voice(99) - float(voice(99) @ embedding) * embedding
    return unit(similarity * embedding + np.sqrt(1 - similarity**2) * unit(aside))


def test_each_candidate_is_scored_by_the_speech_that_it_has_enrolled(repository: Repository) -> None:
    """Much enrolled speech makes the same similarity less likely of another voice: here 2 ln(s) in score."""
    model = ScoreModel(offset=-1.0, similarity=10.0, speech=0.5, enrolled=2.0)
    gallery = gallery_of(repository)
    put(repository, "short", beside(voice(1), 0.80), speech_s=4.0)
    put(repository, "long", beside(voice(1), 0.75), speech_s=16.0)
    first, second = gallery.nearest(voice(1), 3.0, 2, model).candidates
    assert (first.speaker_id, second.speaker_id) == ("long", "short")
    assert (first.similarity, second.similarity) == pytest.approx((0.75, 0.80), abs=1e-6)
    assert first.score == pytest.approx(-1.0 + 7.5 + 0.5 * np.log(3.0) + 2.0 * np.log(16.0), abs=1e-5)
    assert second.score == pytest.approx(-1.0 + 8.0 + 0.5 * np.log(3.0) + 2.0 * np.log(4.0), abs=1e-5)


def test_the_best_score_is_found_though_others_are_more_similar(repository: Repository) -> None:
    model, gallery = ScoreModel(offset=0.0, similarity=10.0, enrolled=2.0), gallery_of(repository)
    for number in range(8):
        put(repository, f"short-{number}", beside(voice(1), 0.80 + 0.001 * number), speech_s=4.0)
    put(repository, "long", beside(voice(1), 0.75), speech_s=16.0)
    nearest = gallery.nearest(voice(1), 3.0, 2, model)
    assert [each.speaker_id for each in nearest.candidates] == ["long", "short-7"]
