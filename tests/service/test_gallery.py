"""The gallery keeps the index in step with SQL, whatever happened to either."""

from collections.abc import Iterator

import numpy as np
import pytest

from app.arrays import Embedding
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
