"""The centroid follows the enrollments, and readers follow the centroid."""

import math
import uuid

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.arrays import Embedding
from app.store import Repository
from tests.store.makers import DIM, MODEL, OTHER_MODEL, TENANT, take, voice

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.lists(st.tuples(st.integers(0, 9), st.floats(0.3, 60.0)), min_size=1, max_size=3),
        ),
        st.tuples(
            st.just("replace"), st.lists(st.tuples(st.integers(0, 9), st.floats(0.3, 60.0)), min_size=1)
        ),
        st.tuples(st.just("take back"), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.none()),
    ),
    max_size=8,
)


def expected_centroid(held: dict[int, float]) -> Embedding:
    """From the definition, not from the code: the direction of the sum of speech times voice."""
    total = np.zeros(DIM)
    for seed, speech_s in held.items():
        total += speech_s * voice(seed).astype(np.float64)
    return (total / math.sqrt(float(total @ total))).astype(np.float32)


def check(repository: Repository, speaker_id: str, held: dict[int, float]) -> None:
    centroid = repository.centroid_of(TENANT, MODEL, speaker_id)
    if not held:
        assert centroid is None
        return
    assert centroid is not None
    assert centroid.enrollments_count == len(held)
    assert centroid.speech_s == pytest.approx(sum(held.values()))
    assert centroid.embedding.dtype == np.float32
    np.testing.assert_allclose(centroid.embedding, expected_centroid(held), atol=2e-6)
    assert np.linalg.norm(centroid.embedding) == pytest.approx(1.0, abs=1e-6)
    rows = repository.list_enrollments(TENANT, speaker_id)
    assert {row.audio_sha256 for row in rows} == {take(seed).audio_sha256 for seed in held}


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(steps=STEPS)
def test_the_centroid_equals_its_recomputation_after_every_step(
    repository: Repository, steps: list[tuple[str, list[tuple[int, float]] | int | None]]
) -> None:
    speaker_id = uuid.uuid4().hex
    held: dict[int, float] = {}  # clip → speech, in the order of the takes
    cache: dict[int, Embedding] = {}
    version = repository.changes_since(TENANT, MODEL, 0).version
    for action, what in steps:
        if isinstance(what, list):
            if action == "replace":
                held.clear()
            repository.add_enrollments(
                TENANT,
                speaker_id,
                MODEL,
                [take(seed, speech_s=speech_s) for seed, speech_s in what],
                on_existing="replace" if action == "replace" else "append",
            )
            for seed, speech_s in what:
                held.setdefault(seed, speech_s)
        elif action == "take back" and what in held:
            assert isinstance(what, int)
            rows = repository.list_enrollments(TENANT, speaker_id)
            row = next(r for r in rows if r.audio_sha256 == take(what).audio_sha256)
            repository.delete_enrollment(TENANT, speaker_id, row.enrollment_id)
            del held[what]
        elif action == "delete":
            repository.delete_speaker(TENANT, speaker_id)
            held.clear()
        check(repository, speaker_id, held)
        version, news = repository.changes_since(TENANT, MODEL, version)
        for key, embedding, _ in news:
            cache.pop(key, None)
            if embedding is not None:
                cache[key] = embedding
        assert len(cache) == bool(held)
        for embedding in cache.values():
            np.testing.assert_allclose(embedding, expected_centroid(held), atol=2e-6)


def test_candidates_are_read_again_in_their_order(repository: Repository) -> None:
    keys = [repository.add_enrollments(TENANT, n, MODEL, [take(i)]).speaker.key for i, n in enumerate("abc")]
    repository.add_enrollments(TENANT, "d", OTHER_MODEL, [take(9)])
    repository.delete_speaker(TENANT, "b")
    found = repository.centroids_by_key(TENANT, MODEL, [keys[2], keys[1], 10**12, keys[0]])
    assert [c.speaker_id for c in found] == ["c", "a"]
    np.testing.assert_array_equal(found[1].embedding, voice(0))
    assert repository.centroids_by_key("other", MODEL, keys) == []
    assert repository.centroids_by_key(TENANT, OTHER_MODEL, keys) == []
    assert repository.centroids_by_key(TENANT, MODEL, np.array(keys)[:1])[0].speaker_key == keys[0]  # type: ignore[arg-type]
    assert repository.centroids_by_key(TENANT, MODEL, []) == []


def test_keys_narrow_by_name_and_by_group(repository: Repository) -> None:
    keys = {}
    for i, name in enumerate("abcd"):
        metadata = {"group": "home"} if name in "ab" else {"group": 7} if name == "c" else None
        keys[name] = repository.add_enrollments(TENANT, name, MODEL, [take(i)], metadata=metadata).speaker.key
    repository.delete_speaker(TENANT, "b")
    repository.add_enrollments(TENANT, "e", OTHER_MODEL, [take(9)])
    assert repository.keys_of(TENANT, MODEL).tolist() == [keys["a"], keys["c"], keys["d"]]
    assert repository.keys_of(TENANT, MODEL, ["d", "a", "a", "b", "e", "x"]).tolist() == [
        keys["a"],
        keys["d"],
    ]
    assert repository.keys_of(TENANT, MODEL, group="home").tolist() == [keys["a"]]
    assert repository.keys_of(TENANT, MODEL, ["d"], group="home").tolist() == []
    assert repository.keys_of(TENANT, MODEL, []).dtype == np.int64


def test_more_names_than_a_statement_takes(repository: Repository) -> None:
    key = repository.add_enrollments(TENANT, "a", MODEL, [take(1)]).speaker.key
    names = [f"nobody-{i}" for i in range(70_000)] + ["a"]
    assert repository.keys_of(TENANT, MODEL, names).tolist() == [key]
    assert len(repository.centroids_by_key(TENANT, MODEL, [*range(10**9, 10**9 + 70_000), key])) == 1


def test_changes_tell_each_speaker_once_and_then_nothing(repository: Repository) -> None:
    assert repository.changes_since(TENANT, MODEL, 0) == (0, [])
    a = repository.add_enrollments(TENANT, "a", MODEL, [take(1)]).speaker.key
    b = repository.add_enrollments(TENANT, "b", MODEL, [take(2)]).speaker.key
    repository.add_enrollments(TENANT, "a", MODEL, [take(3)])
    version, news = repository.changes_since(TENANT, MODEL, 0)
    assert [(change.speaker_key, change.speech_s) for change in news] == [(b, 2.5), (a, 5.0)]
    assert repository.changes_since(TENANT, MODEL, version) == (version, [])
    repository.update_speaker(TENANT, "a", display_name="no news for an index")
    repository.add_enrollments(TENANT, "c", OTHER_MODEL, [take(4)])
    assert repository.changes_since(TENANT, MODEL, version) == (version, [])


def test_an_empty_cache_is_told_of_the_living_only(repository: Repository) -> None:
    a = repository.add_enrollments(TENANT, "a", MODEL, [take(1)]).speaker.key
    b = repository.add_enrollments(TENANT, "b", MODEL, [take(2)]).speaker.key
    version = repository.changes_since(TENANT, MODEL, 0).version
    repository.delete_speaker(TENANT, "a")
    assert [change.speaker_key for change in repository.changes_since(TENANT, MODEL, 0).changes] == [b]
    news = repository.changes_since(TENANT, MODEL, version)
    assert news == (version + 1, [(a, None, 0.0)])


def test_a_database_replaced_by_an_older_one_shows_an_older_version(repository: Repository) -> None:
    repository.add_enrollments(TENANT, "a", MODEL, [take(1)])
    assert repository.changes_since(TENANT, MODEL, 99) == (1, [])


def test_counts_and_partitions(repository: Repository) -> None:
    assert repository.partitions() == []
    repository.add_enrollments(TENANT, "a", MODEL, [take(1, speech_s=1.0)])
    repository.add_enrollments(TENANT, "b", MODEL, [take(2, speech_s=3.0), take(3, speech_s=2.0)])
    repository.add_enrollments("another", "a", OTHER_MODEL, [take(1)])
    assert repository.count_enrolled(TENANT, MODEL) == 2
    assert repository.count_enrolled(TENANT, MODEL, 5.0) == 1
    assert repository.count_enrolled(TENANT, MODEL, 5.1) == 0
    assert repository.count_enrolled(TENANT, OTHER_MODEL) == 0
    assert repository.partitions() == [("another", OTHER_MODEL), (TENANT, MODEL)]
    repository.ping()
