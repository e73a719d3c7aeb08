"""The FAISS index against a plain matrix product, alone and under threads."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.arrays import Embeddings
from app.index import FaissIndex, Keys, Partition, SpeakerIndex

HERE, THERE = Partition("default", "timbre-1@0123"), Partition("other", "timbre-1@0123")
DIM = 16


def voices(count: int, seed: int = 0, dim: int = DIM) -> Embeddings:
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def keys(*values: int) -> Keys:
    return np.array(values, dtype=np.int64)


def brute_force(
    held: dict[int, np.ndarray], query: np.ndarray, top_k: int, allowed: set[int] | None = None
) -> list[tuple[int, float]]:
    scored = [(k, float(v @ query)) for k, v in held.items() if allowed is None or k in allowed]
    return sorted(scored, key=lambda hit: (-hit[1], hit[0]))[:top_k]


def assert_same(found: list[tuple[int, float]], expected: list[tuple[int, float]]) -> None:
    assert [key for key, _ in found] == [key for key, _ in expected]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=1e-6)


@pytest.fixture
def index() -> SpeakerIndex:
    return FaissIndex()


def test_a_search_is_exact_and_sorted(index: SpeakerIndex) -> None:
    rows, query = voices(500), voices(1, seed=1)[0]
    index.upsert(HERE, np.arange(1000, 1500), rows)
    held = {1000 + i: row for i, row in enumerate(rows)}
    assert_same(index.search(HERE, query, 10), brute_force(held, query, 10))
    assert_same(index.search(HERE, query, 10_000), brute_force(held, query, 10_000))
    (key, similarity), *_ = index.search(HERE, rows[7], 1)
    assert key == 1007
    assert similarity == pytest.approx(1.0, abs=1e-6)
    assert similarity <= 1.0
    assert type(key) is int
    assert type(similarity) is float


def test_equal_similarities_come_by_key(index: SpeakerIndex) -> None:
    row = voices(1)
    index.upsert(HERE, keys(9, 3, 7), np.repeat(row, 3, axis=0))
    assert [key for key, _ in index.search(HERE, row[0], 3)] == [3, 7, 9]


def test_an_upsert_takes_the_place_of_the_old_row(index: SpeakerIndex) -> None:
    old, new = voices(2)
    index.upsert(HERE, keys(5), old[None])
    index.upsert(HERE, keys(5), new[None])
    assert index.count(HERE) == 1
    assert_same(index.search(HERE, new, 5), [(5, 1.0)])


def test_of_a_repeated_key_the_last_row_counts(index: SpeakerIndex) -> None:
    rows = voices(4)
    index.upsert(HERE, keys(5, 6, 5, 5), rows)
    assert index.count(HERE) == 2
    assert_same(index.search(HERE, rows[3], 1), [(5, 1.0)])


def test_an_erased_row_is_gone(index: SpeakerIndex) -> None:
    rows = voices(3)
    index.upsert(HERE, keys(1, 2, 3), rows)
    index.erase(HERE, keys(2, 99))
    index.erase(HERE, keys(2))
    index.erase(HERE, keys())
    assert index.count(HERE) == 2
    assert {key for key, _ in index.search(HERE, rows[1], 10)} == {1, 3}
    index.upsert(HERE, keys(2), rows[1:2])
    assert index.search(HERE, rows[1], 1)[0][0] == 2


def test_the_searched_matrix_no_longer_holds_an_erased_row() -> None:
    index, rows = FaissIndex(), voices(3)
    index.upsert(HERE, keys(1, 2, 3), rows)
    index.erase(HERE, keys(1))
    flat: Any = index._rows(HERE).index.index
    import faiss

    downcast: Any = faiss.downcast_index(flat)
    matrix = faiss.rev_swig_ptr(downcast.get_xb(), flat.ntotal * DIM)
    np.testing.assert_array_equal(matrix.reshape(-1, DIM), rows[1:])


def test_partitions_do_not_meet(index: SpeakerIndex) -> None:
    rows = voices(2)
    index.upsert(HERE, keys(1), rows[:1])
    index.upsert(THERE, keys(2), rows[1:])
    assert [key for key, _ in index.search(HERE, rows[1], 5)] == [1]
    index.erase(HERE, keys(2))
    assert index.count(THERE) == 1
    index.clear(HERE)
    assert (index.count(HERE), index.count(THERE)) == (0, 1)


def test_what_was_never_written_is_empty(index: SpeakerIndex) -> None:
    assert index.count(HERE) == 0
    assert index.search(HERE, voices(1)[0], 5) == []
    index.erase(HERE, keys(1))
    index.clear(HERE)
    index.upsert(HERE, keys(), np.empty((0, DIM), np.float32))
    assert index.count(HERE) == 0


def test_only_allowed_keys_compete(index: SpeakerIndex) -> None:
    rows, query = voices(300), voices(1, seed=2)[0]
    held = dict(enumerate(rows))
    index.upsert(HERE, np.arange(300), rows)
    best = [key for key, _ in index.search(HERE, query, 300)]
    worst = best[-20:]  # a filter after the search would have lost them all
    assert_same(
        index.search(HERE, query, 5, allowed_keys=keys(*worst, 10**12)),
        brute_force(held, query, 5, set(worst)),
    )
    assert len(index.search(HERE, query, 50, allowed_keys=keys(*worst))) == 20
    assert index.search(HERE, query, 5, allowed_keys=keys()) == []
    assert index.search(HERE, query, 5, allowed_keys=keys(10**12)) == []


def test_what_does_not_fit_is_refused(index: SpeakerIndex) -> None:
    with pytest.raises(ValueError, match="belong together"):
        index.upsert(HERE, keys(1, 2), voices(1))
    with pytest.raises(ValueError, match="belong together"):
        index.upsert(HERE, keys(1), voices(1)[0])
    index.upsert(HERE, keys(1), voices(1))
    with pytest.raises(ValueError, match="16 values, these have 8"):
        index.upsert(HERE, keys(2), voices(1, dim=8))
    with pytest.raises(ValueError, match="16 values, these have 8"):
        index.search(HERE, voices(1, dim=8)[0], 1)
    with pytest.raises(ValueError, match="top_k"):
        index.search(HERE, voices(1)[0], 0)
    assert index.count(HERE) == 1
    index.clear(HERE)
    index.upsert(HERE, keys(2), voices(1, dim=8))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from(["upsert", "erase"]), st.lists(st.integers(0, 12), max_size=5)), max_size=20
    )
)
def test_the_index_equals_a_dictionary(steps: list[tuple[str, list[int]]]) -> None:
    index, held, fresh = FaissIndex(), {}, iter(range(10_000))
    for action, which in steps:
        if action == "erase":
            index.erase(HERE, keys(*which))
            for key in which:
                held.pop(key, None)
        else:
            rows = voices(len(which), seed=next(fresh))
            index.upsert(HERE, keys(*which), rows)
            held |= dict(zip(which, rows, strict=True))
        assert index.count(HERE) == len(held)
    query = voices(1, seed=99_999)[0]
    assert_same(index.search(HERE, query, 20), brute_force(held, query, 20))


def test_threads_may_write_and_search_together(index: SpeakerIndex) -> None:
    rows, stop = voices(400, dim=64), threading.Event()
    index.upsert(HERE, np.arange(200), rows[:200])

    def search() -> int:
        done = 0
        while not stop.is_set():
            hits = index.search(HERE, rows[0], 3)
            assert hits[0][0] == 0  # never erased
            assert hits == sorted(hits, key=lambda hit: -hit[1])
            done += 1
        return done

    def write(first: int) -> None:
        for _ in range(30):
            for start in range(first, 400, 80):
                mine = np.arange(start, start + 10)
                index.upsert(HERE, mine, rows[mine])
                index.erase(HERE, mine[5:])

    with ThreadPoolExecutor(6) as pool:
        searches = [pool.submit(search) for _ in range(3)]
        writes = [pool.submit(write, first) for first in (200, 220, 240)]
        try:
            for writer in writes:
                writer.result()
        finally:
            stop.set()
        assert min(s.result() for s in searches) > 0
    assert index.count(HERE) == len({k for k, _ in index.search(HERE, rows[0], 1000)})
