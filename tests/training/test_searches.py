"""How often a search errs: the count against what is known of made-up voices."""

from dataclasses import replace

import numpy as np
import pytest

from app.scoring import ScoreModel
from app.scoring.points import fpir_of
from tests.scoring.test_points import CALIBRATION
from training.corpus import Source
from training.scored import Features
from training.searches import Searched, Voice, report, search, voices_of

PLAIN = replace(CALIBRATION, score=ScoreModel(0.0, 1.0))
"""The score is the similarity."""


def take(seed: int, speech_s: float = 2.0, mean: np.ndarray | None = None, dim: int = 24) -> Features:
    vector = np.random.default_rng(seed).standard_normal(dim) + (0.0 if mean is None else mean)
    return Features((vector / np.linalg.norm(vector)).astype(np.float32), np.zeros(80), speech_s)


def voices(count: int, home: str = "one") -> list[Voice]:
    made = []
    for number in range(count):
        takes = [take(1000 * number + i) for i in range(4)]
        made.append(Voice(home, takes, (takes[0].embedding.astype(np.float64), 4.0)))
    return made


def test_comparisons_that_know_nothing_of_each_other_err_as_the_formula_says() -> None:
    scores = np.sort(np.random.default_rng(0).standard_normal((20_000, 10)), axis=1)
    found = Searched(scores)
    for rate in (0.01, 0.1, 0.3):
        threshold = found.threshold_at(rate)
        assert fpir_of(found.fmr(threshold), 10) == pytest.approx(rate, rel=0.01)
        assert found.fpir(threshold) == pytest.approx(rate, rel=0.1)


def test_comparisons_that_are_all_alike_err_less_often_than_it_says() -> None:
    scores = np.repeat(np.random.default_rng(0).standard_normal((20_000, 1)), 10, axis=1)
    found = Searched(scores)
    threshold = found.threshold_at(0.1)
    assert found.fpir(threshold) == found.fmr(threshold) == pytest.approx(0.0105, rel=0.05)


def test_nobody_is_searched_for_in_a_gallery_that_he_is_in() -> None:
    known = voices(30)
    for number, voice in enumerate(known):  # every take of a voice is the same: found, it would score 1
        known[number] = replace(voice, takes=[voice.takes[0]] * 3)
    found = search(known, 10, PLAIN, rounds=5)
    assert found is not None
    assert found.scores.shape == (5 * 20 * 3, 10)
    assert found.scores.max() < 0.999
    assert np.all(np.diff(found.scores, axis=1) >= 0)


def test_too_few_voices_make_no_gallery() -> None:
    assert search(voices(19), 10, PLAIN) is None
    assert search([replace(voice, enrolled=None) for voice in voices(40)], 10, PLAIN) is None
    assert search(voices(20), 10, PLAIN, rounds=1) is not None


def test_speakers_are_enrolled_with_their_first_recordings() -> None:
    sources = [Source(f"{who}-{i}", who, None, "set", "dev") for who in "ab" for i in range(3)]  # type: ignore[arg-type]
    features = {f"a-{i}": take(i) for i in range(3)} | {"b-0": take(9), "b-1": take(10, speech_s=0.0)}
    homes = {source.utterance_id: "set" for source in sources}
    ada, bob = voices_of(sources, homes, features, required_s=4.0)
    assert (len(ada.takes), len(bob.takes)) == (3, 1)
    assert bob.enrolled is None
    assert ada.enrolled is not None
    mean = features["a-0"].embedding + features["a-1"].embedding
    np.testing.assert_allclose(ada.enrolled[0], mean / np.linalg.norm(mean), atol=1e-6)
    assert ada.enrolled[1] == 4.0


def test_the_report_has_a_line_for_every_rate_and_says_what_is_refused() -> None:
    text = report([*voices(25, "one"), *voices(25, "two")], PLAIN)
    assert "| 10 | one set (2 sets) |" in text
    assert "| 10 | all sets together |" in text
    assert "| 30 | all sets together | 1% | refused | |" in text  # 3 / 10,000 and 30 speakers
    assert "| 100 |" not in text
