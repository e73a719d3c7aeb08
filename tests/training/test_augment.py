from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.arrays import Waveform
from training.augment import AugmentConfig, Augmenter, convolve, mix, simulate_rooms, speed, through_codec
from training.signals import speech_like

VOICE = speech_like(1.5, speaker=1)


def energy_above(waveform: Waveform, hertz: float) -> float:
    power = np.abs(np.fft.rfft(waveform)) ** 2
    place = int(hertz / 8000 * (len(power) - 1))
    return float(power[place:].sum() / power.sum())


@given(st.floats(-5, 30))
def test_noise_is_mixed_at_the_ratio_asked_for(snr_db: float) -> None:
    noise = np.random.default_rng(1).standard_normal(len(VOICE)).astype(np.float32)
    added = mix(VOICE, noise, snr_db) - VOICE
    measured = 10 * np.log10(np.mean(VOICE**2) / np.mean(added**2))
    assert measured == pytest.approx(snr_db, abs=0.1)


def test_silent_noise_changes_nothing() -> None:
    np.testing.assert_array_equal(mix(VOICE, np.zeros_like(VOICE), 0.0), VOICE)


def test_an_impulse_is_the_identity_of_convolution() -> None:
    impulse = np.zeros(500, np.float32)
    impulse[37] = 1.0
    np.testing.assert_allclose(convolve(VOICE, impulse)[:-500], VOICE[:-500], atol=1e-5)


def test_speed_raises_the_pitch_and_keeps_the_length() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(20000) / 16000).astype(np.float32)
    fast = speed(tone, 1.1, 16000)
    peak = np.argmax(np.abs(np.fft.rfft(fast))) * 16000 / len(fast)
    assert len(fast) == 16000
    assert peak == pytest.approx(1100, abs=3)


@pytest.mark.parametrize("subtype", ["GSM610", "ULAW", "ALAW"])
def test_the_telephone_takes_the_high_band(subtype: str) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 24000).astype(np.float32)
    call = through_codec(noise, "WAV", subtype, 8000)
    assert len(call) == len(noise)
    assert energy_above(noise, 4200) > 0.4
    assert energy_above(call, 4200) < 0.02


@pytest.mark.parametrize(("container", "subtype"), [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")])
def test_a_codec_keeps_the_voice_where_it_was(container: str, subtype: str) -> None:
    back = through_codec(VOICE, container, subtype, 16000)
    assert len(back) == len(VOICE)
    assert np.corrcoef(back[2000:-2000], VOICE[2000:-2000])[0, 1] > 0.8


def test_simulated_rooms_differ_and_decay() -> None:
    rooms = simulate_rooms(3, np.random.default_rng(3))
    assert len({len(room) for room in rooms}) > 1
    for room in rooms:
        assert np.max(np.abs(room)) == pytest.approx(1.0)
        assert np.sum(room[: len(room) // 2] ** 2) > np.sum(room[len(room) // 2 :] ** 2)


def test_every_change_keeps_length_range_and_type(miniature: Path) -> None:
    always = AugmentConfig(
        noise=1, babble=1, room=1, device=1, telephone=0.5, codec=1, simulated_rooms=2, gain_db=(-20, 20)
    )
    augment = Augmenter(always, miniature / "noise.csv", lambda n, _: np.resize(VOICE, n))
    rng = np.random.default_rng(2)
    for _ in range(6):
        changed = augment(VOICE, rng)
        assert changed.shape == VOICE.shape
        assert changed.dtype == np.float32
        assert np.all(np.abs(changed) <= 1)
        assert not np.allclose(changed, VOICE, atol=1e-3)


def test_the_same_seed_draws_the_same_change(miniature: Path) -> None:
    augment = Augmenter(
        AugmentConfig(simulated_rooms=2), miniature / "noise.csv", lambda n, _: np.resize(VOICE, n)
    )
    one, same, other = (augment(VOICE, np.random.default_rng(seed)) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
