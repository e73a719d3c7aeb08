"""A calibration of one's own, tried on speakers that it was not fitted on."""

import numpy as np
import pytest

from app.scoring.own_trials import Takes
from tests.scoring.test_own_trials import takes_of
from tests.scoring.test_refit import BASE
from training.own_galleries import halves, tried


def test_no_speaker_is_in_both_halves() -> None:
    takes = takes_of([3] * 21)
    one, other = halves(takes)
    assert set(one.speakers).isdisjoint(other.speakers)
    assert len(np.unique(one.speakers)) == 10
    assert len(one.speakers) + len(other.speakers) == 63
    assert set(halves(takes, seed=1)[0].speakers) != set(one.speakers)


def test_small_sets_are_not_tried() -> None:
    assert tried(takes_of([4] * 19), BASE, 3.0) is None
    assert tried(takes_of([4] * 20), BASE, 3.0) is not None


def test_a_gallery_whose_voices_are_all_alike_gets_a_threshold_that_keeps_the_rate() -> None:
    plain = takes_of([6] * 60)
    # A microphone that adds the same to every voice: similarities rise, and with them the false matches.
    coloured = plain.embeddings + 0.8
    coloured /= np.linalg.norm(coloured, axis=1, keepdims=True)
    found = tried(Takes(plain.speakers, coloured.astype(np.float32), plain.speech_s), BASE, 3.0)
    assert found is not None
    cllr_before, cllr_own, fmr_before, fmr_own, _, fnmr_own = found
    assert fmr_before > 0.5
    assert fmr_own == pytest.approx(0.05, abs=0.025)
    assert cllr_own < 0.5 * cllr_before
    assert fnmr_own < 0.6
