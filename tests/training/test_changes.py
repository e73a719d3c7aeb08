from pathlib import Path

import numpy as np
import pytest

from app.audio import prepare
from tests.speech import say
from training.changes import conditions, noise_source, speech_shaped_noise, spread, wav, with_noise

VOICE = say(0)
WHOLE = prepare(wav(VOICE), max_duration_s=60.0)
KNOWN = {condition.name: condition for condition in conditions(speech_shaped_noise)}


def changed(name: str) -> bytes | None:
    return KNOWN[name].change(VOICE, np.random.default_rng(0))


@pytest.mark.parametrize("seconds", [1, 2])
def test_a_recording_is_cut_to_so_much_speech(seconds: int) -> None:
    data = changed(f"{seconds} s")
    assert data is not None
    assert prepare(data, max_duration_s=60.0).report.speech_s == pytest.approx(seconds, abs=0.15)


def test_a_recording_is_not_made_longer_than_it_is() -> None:
    assert WHOLE.report.speech_s < 5
    assert changed("5 s") is None


@pytest.mark.parametrize("snr_db", [20, 10])
def test_noise_lies_below_the_speech_by_the_ratio_that_the_service_measures(snr_db: int) -> None:
    data = changed(f"{snr_db} dB")
    assert data is not None
    assert prepare(data, max_duration_s=60.0).report.snr_db == pytest.approx(snr_db, abs=4)


def test_pauses_do_not_lower_the_noise() -> None:
    padded = np.concatenate([VOICE, np.zeros(5 * len(VOICE), np.float32)])

    def flat(samples: int, _: np.random.Generator) -> np.ndarray:
        return np.ones(samples, np.float32)

    powers = []
    for waveform in (VOICE, padded):
        heard = prepare(
            with_noise(waveform, np.random.default_rng(0), noise=flat, snr_db=0.0), max_duration_s=60.0
        )
        powers.append(heard.report.peak_dbfs)
    assert powers[0] == pytest.approx(powers[1], abs=0.5)


def test_generated_noise_falls_off_as_speech_does() -> None:
    power = np.abs(np.fft.rfft(speech_shaped_noise(160_000, np.random.default_rng(0)))) ** 2
    octaves = [10 * np.log10(power[10 * low : 20 * low].mean()) for low in (1000, 2000)]
    assert octaves[0] - octaves[1] == pytest.approx(9, abs=0.5)


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz", "widest_hz"),
    [
        ("8 kHz, 16 bit", "pcm_s16le", 8000, 4200),
        ("8 kHz, µ-law (G.711)", "mulaw", 8000, 4200),
        ("8 kHz, GSM 06.10", "gsm", 8000, 4200),
        ("MP3, 16 kbit/s", "mp3", 16000, 8000),
        ("Opus, 16 kbit/s", "opus", 16000, 8000),
    ],
)
def test_the_service_is_sent_a_real_file_of_the_codec(
    name: str, codec: str, rate_hz: int, widest_hz: float
) -> None:
    data = changed(name)
    assert data is not None
    heard = prepare(data, max_duration_s=60.0).report
    assert codec in heard.codec
    assert heard.sample_rate_hz == rate_hz
    assert heard.bandwidth_hz is not None
    assert heard.bandwidth_hz <= widest_hz
    assert heard.speech_s == pytest.approx(WHOLE.report.speech_s, abs=0.3)


def test_codecs_of_16_kbit_have_16_kbit() -> None:
    for name in ("MP3, 16 kbit/s", "Opus, 16 kbit/s"):
        data = changed(name)
        assert data is not None
        assert len(data) * 8 / (len(VOICE) / 16000) == pytest.approx(16_000, rel=0.2)


def test_noise_comes_from_the_manifest_or_says_that_it_is_generated(miniature: Path, tmp_path: Path) -> None:
    noise, words = noise_source(miniature / "noise.csv")
    assert words == "1 recorded noises of noise.csv"
    assert noise(48_000, np.random.default_rng(0)).shape == (48_000,)
    assert "generated" in noise_source(None)[1]
    (tmp_path / "empty.csv").write_text("path,kind\n")
    with pytest.raises(ValueError, match="no noises"):
        noise_source(tmp_path / "empty.csv")


def test_items_are_spread_over_all() -> None:
    assert spread([*"abcdefg"], 3) == ["a", "d", "g"]
    assert spread([*"ab"], 9) == ["a", "b"]
