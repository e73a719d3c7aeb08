import numpy as np
import pytest

from app.audio import speech
from app.audio.speech import analyse
from tests.speech import say


@pytest.mark.parametrize("frames", [1, 7, 100, 301])
def test_a_long_recording_is_analysed_piece_by_piece_with_the_same_result(frames, monkeypatch):
    recording = np.concatenate([say(0), say(1, "dan")])
    whole = analyse(recording)
    monkeypatch.setattr(speech, "_BLOCK_FRAMES", frames)
    pieces = analyse(recording)
    np.testing.assert_array_equal(pieces.mask, whole.mask)
    np.testing.assert_array_equal(pieces.power, whole.power)
    np.testing.assert_array_equal(pieces.band_power, whole.band_power)
    assert pieces.speech_spectrum is not None
    assert whole.speech_spectrum is not None
    np.testing.assert_allclose(pieces.speech_spectrum, whole.speech_spectrum, rtol=1e-5)


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 161, 319, 320, 511, 512])
@pytest.mark.parametrize("frames", [1, 2, 30_000])
def test_pieces_of_awkward_lengths(samples, frames, monkeypatch):
    monkeypatch.setattr(speech, "_BLOCK_FRAMES", frames)
    found = analyse(np.full(samples, 0.5, np.float32))
    assert len(found.mask) == len(found.power) == len(found.band_power) == 1 + samples // 160


def test_the_power_is_the_mean_square():
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    found = analyse(tone.astype(np.float32))
    assert found.power[10:-10] == pytest.approx(0.125, rel=0.02)
    assert found.band_power[10:-10] == pytest.approx(0.125, rel=0.02)
    assert found.speech_spectrum is None
