import numpy as np
import pytest

from app.audio.speech import runs, speech_mask
from app.audio.windows import speech_only
from tests.speech import say, voices


def room(seconds: float):
    return np.random.default_rng(5).normal(0, 4e-4, round(16_000 * seconds)).astype(np.float32)


def test_silence_before_behind_and_between_is_dropped():
    first, second = say(0), say(1)
    kept = speech_only(np.concatenate([room(3), first, room(5), second, room(4)]))
    assert len(kept) == pytest.approx(len(first) + len(second), abs=16_000)
    assert len(kept) <= len(first) + len(second)


@pytest.mark.parametrize("voice", voices())
def test_all_speech_is_kept(voice):
    spoken = say(1, voice)
    kept = speech_only(spoken)
    assert kept.dtype == np.float32
    inside = np.zeros(len(spoken), dtype=bool)
    for start, stop in runs(speech_mask(spoken)):
        inside[start * 160 : stop * 160] = True
    assert np.square(kept).sum() >= 0.999 * np.square(spoken[inside]).sum()
    assert len(kept) >= inside.sum()


def test_a_short_pause_stays_and_a_long_one_goes():
    word = say(0)[6_400:14_400]

    def gap(seconds: float) -> int:
        return len(speech_only(np.concatenate([room(1), word, room(seconds), word, room(1)])))

    assert gap(0.25) - gap(0.1) == pytest.approx(0.15 * 16_000, abs=800)
    assert gap(3.0) == pytest.approx(gap(1.0), abs=800)


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 8_000])
def test_without_speech_the_waveform_stays_as_it_is(samples):
    quiet = room(samples / 16_000)
    np.testing.assert_array_equal(speech_only(quiet), quiet)


def test_a_given_mask_is_used():
    waveform = np.arange(16_000, dtype=np.float32) / 16_000
    mask = np.zeros(101, dtype=bool)
    mask[40:60] = True
    np.testing.assert_array_equal(speech_only(waveform, mask), waveform[4_800:11_200])
    mask[:] = True
    np.testing.assert_array_equal(speech_only(waveform, mask), waveform)
