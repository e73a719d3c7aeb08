"""Distances of embeddings and the linear probe, on embeddings whose answers are known."""

from pathlib import Path

import numpy as np
import pytest

from app.arrays import Embeddings
from app.scoring.rates import equal_error_rate
from training.corpus import Source
from training.probes import (
    LEAST_TAKES,
    MOST_TAKES,
    LinearProbe,
    Takes,
    distance_figures,
    distances,
    probe_takes,
)


def recordings(speakers: dict[str, int]) -> list[Source]:
    """So many recordings of each speaker."""
    return [
        Source(f"{speaker}-{take}", speaker, Path("none"), "set", "train")
        for speaker, takes in speakers.items()
        for take in range(takes)
    ]


def unit(rows: np.ndarray) -> Embeddings:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def hidden_voices(speakers: range, takes: int, seed: int) -> tuple[Embeddings, np.ndarray]:
    """Embeddings in which three quiet directions tell the speaker, and twenty loud ones the recording."""
    where, rng = np.random.default_rng(7).standard_normal((100, 3)), np.random.default_rng(seed)
    voice = np.repeat(where[speakers], takes, axis=0)
    quiet = voice + 0.02 * rng.standard_normal((len(voice), 3))
    rows = np.concatenate([quiet, rng.standard_normal((len(voice), 20))], axis=1)
    return np.asarray(rows, np.float32), np.repeat([f"s{number}" for number in speakers], takes)


def eer(embeddings: Embeddings, speakers: np.ndarray) -> float:
    left, right = np.triu_indices(len(embeddings), 1)
    scores = np.sum(embeddings[left] * embeddings[right], axis=1, dtype=np.float64)
    return equal_error_rate(np.asarray(scores), (speakers[left] == speakers[right]).astype(np.int64))


def test_distances_are_those_of_unit_vectors() -> None:
    rng = np.random.default_rng(1)
    left, right = (unit(rng.standard_normal((50, 8))).astype(np.float64) for _ in range(2))
    expected = np.linalg.norm(left - right, axis=1)
    np.testing.assert_allclose(distances(np.sum(left * right, axis=1)), expected, atol=1e-6)
    # rounding may put a cosine above 1
    np.testing.assert_array_equal(distances(np.array([1.0, 1 + 1e-7, -1.0])), [0, 0, 2])


def test_means_and_separation_of_distances() -> None:
    apart = np.array([0.4, 0.6, 1.0, 1.2, 1.4])
    found = distance_figures(1 - apart**2 / 2, np.array([1, 1, 0, 0, 0]))
    # variances 0.01 and 0.08 / 3, means 0.5 and 1.2
    assert found["same"] == pytest.approx(0.5)
    assert found["different"] == pytest.approx(1.2)
    assert found["separation"] == pytest.approx(0.7 / np.sqrt((0.01 + 0.08 / 3) / 2))


def test_embeddings_that_are_all_alike_are_not_separated() -> None:
    found = distance_figures(np.ones(6), np.array([1, 1, 1, 0, 0, 0]))
    assert found == {"same": 0, "different": 0, "separation": 0}


def test_the_probe_finds_the_speakers_that_the_cosine_does_not_see() -> None:
    fitted, held_out, strangers = (
        hidden_voices(range(*speakers), takes, seed)
        for seed, (speakers, takes) in enumerate([((0, 60), 4), ((0, 60), 2), ((60, 100), 4)])
    )
    probe = LinearProbe(*fitted)
    projected = probe.project(strangers[0])
    np.testing.assert_allclose(np.linalg.norm(projected, axis=1), 1, atol=1e-5)
    assert projected.dtype == np.float32
    assert eer(unit(strangers[0]), strangers[1]) > 0.3
    assert eer(projected, strangers[1]) < 0.22
    assert probe.accuracy(*held_out) > 0.4  # chance is 1 in 60


def test_the_probe_finds_nothing_where_there_is_nothing() -> None:
    rng = np.random.default_rng(3)
    speakers = np.repeat([f"s{n}" for n in range(50)], 4)
    fitted, held_out = (unit(rng.standard_normal((200, 300))) for _ in range(2))
    probe = LinearProbe(fitted, speakers)
    assert probe.accuracy(held_out, speakers) < 0.08  # chance is 0.02
    assert eer(probe.project(held_out), speakers) == pytest.approx(0.5, abs=0.06)


def test_a_network_that_says_nearly_one_thing_of_everybody_can_be_probed() -> None:
    speakers = np.repeat(["a", "b", "c"], 4)
    same = unit(np.ones((12, 5)) + 1e-5 * np.random.default_rng(0).standard_normal((12, 5)))
    assert np.isfinite(LinearProbe(same, speakers).project(same)).all()


def test_takes_follow_from_labels_alone() -> None:
    sources = recordings({"ann": 9, "ben": LEAST_TAKES, "cat": LEAST_TAKES - 1, "dan": 5, "eve": 6})
    takes = probe_takes(sources, 10)
    count = {name: int((takes.speakers == name).sum()) for name in ("ann", "ben", "cat", "dan", "eve")}
    assert count == {"ann": MOST_TAKES, "ben": 4, "cat": 0, "dan": 5, "eve": 6}
    held = {name: int(takes.held_out[takes.speakers == name].sum()) for name in ("ann", "ben", "dan")}
    assert held == {"ann": 2, "ben": 1, "dan": 1}
    assert takes.chance == 1 / 4
    again = probe_takes(sources[::-1], 10)
    assert [s.utterance_id for s in again.sources] == [s.utterance_id for s in takes.sources]
    assert len(set(probe_takes(sources, 2).speakers)) == 2


def test_who_cannot_be_held_out_any_more_is_left_out() -> None:
    takes = probe_takes(recordings({"ann": 4, "ben": 4, "cat": 4}), 3)
    refused = takes.sources[int(np.flatnonzero(takes.held_out & (takes.speakers == "ben"))[0])]
    left = takes.among([source for source in takes.sources if source != refused])
    assert set(left.speakers) == {"ann", "cat"}
    assert len(left.sources) == len(left.held_out) == 8
    with pytest.raises(ValueError, match="2 speakers"):
        Takes(left.sources, left.held_out).among([s for s in left.sources if s.speaker_id == "ann"])
