"""A gallery against itself."""

import numpy as np
import pytest

from app.scoring import centroid, own_trials
from app.scoring.own_trials import Takes, gallery_trials


def takes_of(counts: list[int], seed: int = 0, speech_s: float = 3.0, noise: float = 0.8) -> Takes:
    """So many takes of each speaker, around a direction of the speaker's own."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(len(counts)), counts)
    voices = rng.standard_normal((len(counts), 16))
    heard = voices[who] + noise * rng.standard_normal((len(who), 16))
    heard /= np.linalg.norm(heard, axis=1, keepdims=True)
    return Takes(np.array([f"s{i:03}" for i in who]), heard.astype(np.float32), np.full(len(who), speech_s))


def test_every_take_meets_the_speakers_other_takes_and_everybody_else() -> None:
    takes = takes_of([3, 2, 1])
    trials = gallery_trials(takes, required_s=3.0)
    targets = trials.labels == 1
    assert sorted(trials.enroll_speakers[targets].tolist()) == ["s000"] * 3 + ["s001"] * 2
    np.testing.assert_array_equal(trials.enroll_speakers[targets], trials.test_speakers[targets])
    pairs = sorted(zip(trials.test_speakers[~targets], trials.enroll_speakers[~targets], strict=True))
    assert pairs == sorted(
        (who, other) for who in takes.speakers for other in ("s000", "s001", "s002") if who != other
    )
    assert not trials.confirmed.any()
    assert trials.speakers == 2


def test_a_take_is_never_compared_with_itself() -> None:
    takes = takes_of([3])
    trials = gallery_trials(takes, required_s=3.0)
    expected = [
        float(centroid(np.delete(takes.embeddings, one, axis=0)) @ takes.embeddings[one]) for one in range(3)
    ]
    assert sorted(trials.similarity) == pytest.approx(sorted(expected))
    np.testing.assert_array_equal(trials.enrolled_speech_s, [6.0] * 3)
    np.testing.assert_array_equal(trials.speech_s, [3.0] * 3)


def test_what_is_not_enrolled_is_no_impostors_goal_and_half_of_it_a_targets() -> None:
    trials = gallery_trials(takes_of([2, 1], speech_s=3.0), required_s=6.0)
    assert (trials.labels == 1).sum() == 2  # against 3 of 6 s
    assert trials.enroll_speakers[trials.labels == 0].tolist() == ["s000"]  # s001 has 3 of 6 s
    assert (gallery_trials(takes_of([2, 1]), required_s=6.1).labels == 1).sum() == 0
    assert len(gallery_trials(takes_of([]), required_s=4.0).labels) == 0


def test_large_galleries_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_trials, "MOST_SPEAKERS", 6)
    monkeypatch.setattr(own_trials, "MOST_TAKES", 2)
    monkeypatch.setattr(own_trials, "MOST_IMPOSTORS", 25)
    takes = takes_of([4] * 9)
    one, same, other = (gallery_trials(takes, 3.0, seed) for seed in (0, 0, 1))
    for trials in (one, other):
        assert (trials.labels == 1).sum() == 12
        assert (trials.labels == 0).sum() == 25
        assert len(np.unique(trials.enroll_speakers)) <= 6
        assert np.all(trials.enroll_speakers[trials.labels == 0] != trials.test_speakers[trials.labels == 0])
    np.testing.assert_array_equal(one.similarity, same.similarity)
    assert not np.array_equal(np.sort(one.similarity), np.sort(other.similarity))
