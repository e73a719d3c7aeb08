import csv
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from app.audio import prepare
from app.audio.decode import Recording, decode
from app.audio.quality import AudioReport, QualityLimits, measure, refuse, speech_mask
from app.audio.speech import runs
from app.errors import AudioRefused, AudioTooShort, Clipped, InsufficientSpeech, NoSpeech, TooNoisy, TooQuiet
from app.settings import Settings
from tests.codecs import encode
from tests.speech import clip, say, voices

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"


def default_limits() -> QualityLimits:
    settings = Settings(_env_file=None)
    return QualityLimits(
        min_speech_s=settings.min_speech_s,
        min_snr_db=settings.min_snr_db,
        max_clipped_ratio=settings.max_clipped_ratio,
        min_level_dbfs=settings.min_level_dbfs,
    )


def report_of(samples, rate: int = 16_000, kind: str = "wav", **how) -> AudioReport:
    return measure(decode(encode(np.asarray(samples), kind, rate, **how), max_duration_s=120.0))


def noise(seconds: float, level: float = 0.05, colour: float = 0.0, seed: int = 0):
    """Steady noise whose power falls with frequency to the power of `colour`."""
    samples = np.random.default_rng(seed).standard_normal(round(16_000 * seconds))
    spectrum = np.fft.rfft(samples)
    hertz = np.maximum(np.fft.rfftfreq(len(samples), 1 / 16_000), 20.0)
    samples = np.fft.irfft(spectrum / hertz ** (colour / 2), len(samples))
    return level * samples / samples.std()


# ------------------------------------------------------------------ where the speech is


@pytest.mark.parametrize("colour", [0.0, 1.0, 2.0], ids=["white", "pink", "brown"])
@pytest.mark.parametrize("level", [1e-4, 0.01, 0.2])
@pytest.mark.parametrize("seconds", [0.5, 3.0, 20.0])
def test_steady_noise_is_no_speech(colour, level, seconds):
    for seed in range(5):
        assert not speech_mask(noise(seconds, level, colour, seed).astype(np.float32)).any()


@pytest.mark.parametrize("voice", voices())
def test_a_voice_is_found_where_it_is(voice):
    spoken = say(0, voice)
    found = runs(speech_mask(spoken))
    assert found[0][0] * 0.01 == pytest.approx(0.2, abs=0.15)
    assert found[-1][1] * 0.01 == pytest.approx(len(spoken) / 16_000 - 0.2, abs=0.4)
    assert sum(stop - start for start, stop in found) * 160 > 0.75 * (len(spoken) - 6_400)


def test_a_word_between_long_silences_is_found():
    word = say(0)[6_400:16_000]
    quiet = np.concatenate([noise(10, 1e-3), word, noise(20, 1e-3, seed=1)]).astype(np.float32)
    mask = speech_mask(quiet)
    assert mask[1_005:1_050].mean() > 0.8
    assert not mask[:980].any()
    assert not mask[1_100:].any()


def test_a_word_that_fills_its_recording_is_found():
    assert speech_mask(say(0)[6_400:16_000]).mean() > 0.7


def test_a_fan_that_starts_in_the_middle_is_no_speech():
    both = np.concatenate([noise(20, 0.01), noise(20, 0.03, seed=1)]).astype(np.float32)
    assert speech_mask(both)[:1_950].sum() == 0
    assert speech_mask(both).mean() < 0.1


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 161, 511, 512, 4_000])
def test_one_verdict_for_each_10_ms(samples):
    assert len(speech_mask(np.zeros(samples, dtype=np.float32))) == 1 + samples // 160


def test_a_whistle_is_no_speech():
    seconds = np.arange(48_000) / 16_000
    whistle = np.where((seconds > 1) & (seconds < 2), 0.3 * np.sin(2 * np.pi * 1_000 * seconds), 0)
    assert speech_mask((whistle + noise(3, 1e-3)).astype(np.float32)).mean() < 0.1


# ------------------------------------------------------------------ the measures


@pytest.mark.parametrize("snr_db", [5.0, 10.0, 20.0, 30.0])
def test_snr_follows_the_noise_that_was_added(snr_db):
    spoken = say(1, "gus")
    inside = np.repeat(speech_mask(spoken), 160)[: len(spoken)]
    added = noise(len(spoken) / 16_000, 1.0, seed=3)[: len(spoken)]
    # The measure hears 150 Hz to 4 kHz: half of the white noise, and nearly all of the speech.
    level = math.sqrt(2 * np.mean(np.square(spoken[inside[: len(spoken)]])) / 10 ** (snr_db / 10))
    report = report_of(spoken + level * added, subtype="FLOAT")
    assert report.snr_db == pytest.approx(snr_db, abs=4.0)
    assert ("noisy" in report.warnings) == (report.snr_db < 10)


@pytest.mark.parametrize(("rate", "least", "most"), [(8_000, 3_300, 4_000), (16_000, 5_500, 8_000)])
def test_bandwidth_of_a_telephone_that_was_upsampled(rate, least, most):
    line = decode(encode(say(0, "june"), "wav"), max_duration_s=60).waveform
    if rate == 8_000:
        import librosa

        line = librosa.resample(line, orig_sr=16_000, target_sr=8_000)
        line = librosa.resample(line, orig_sr=8_000, target_sr=16_000)
    report = report_of(line)
    assert least <= report.bandwidth_hz <= most
    assert report.sample_rate_hz == 16_000
    assert ("narrowband" in report.warnings) == (rate == 8_000)


def test_level_is_that_of_the_speech():
    spoken = say(0)
    alone = report_of(spoken, subtype="FLOAT").rms_dbfs
    silence = np.zeros(160_000, dtype=np.float32)
    assert report_of(np.concatenate([silence, spoken]), subtype="FLOAT").rms_dbfs == pytest.approx(
        alone, abs=0.5
    )
    assert report_of(0.1 * spoken, subtype="FLOAT").rms_dbfs == pytest.approx(alone - 20, abs=0.5)


def test_quality_falls_with_noise_clipping_and_brevity():
    spoken = say(0)
    best = report_of(spoken).quality
    assert 0.7 < best <= 1
    assert report_of(spoken + 0.1 * noise(len(spoken) / 16_000, 1.0)[: len(spoken)]).quality < best - 0.1
    assert report_of(np.clip(30 * spoken, -1, 1)).quality < best - 0.2
    assert report_of(spoken[:16_000]).quality < best - 0.2
    assert report_of(np.zeros(16_000)).quality == 0


@pytest.mark.parametrize("samples", [np.zeros(1), np.zeros(16_000), np.full(1, 0.5), noise(0.001), noise(1)])
def test_every_number_is_finite_or_none(samples):
    report = report_of(samples).as_dict()
    assert all(
        value is None or not isinstance(value, float) or math.isfinite(value) for value in report.values()
    )
    assert set(report) == set(AudioReport.__dataclass_fields__)
    assert isinstance(report["warnings"], list)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("samples", "leaf"),
    [
        (np.zeros(16), AudioTooShort),
        (np.zeros(48_000), NoSpeech),
        (np.full(48_000, 0.25), NoSpeech),
        (noise(3), NoSpeech),
        (0.3 * np.sin(np.arange(48_000) * 0.17), NoSpeech),
        (np.sign(noise(3)), Clipped),
        (np.clip(say(0) * 1_000, -1, 1), Clipped),
        (say(0) * 3e-3, TooQuiet),
    ],
    ids=["sliver", "silence", "offset", "noise", "tone", "square", "clipped speech", "whisper from afar"],
)
def test_what_cannot_be_used_is_refused(samples, leaf):
    report = report_of(samples, subtype="FLOAT")
    with pytest.raises(leaf) as refused:
        refuse(report, default_limits())
    assert refused.value.audio == report.as_dict()
    assert str(refused.value)


def test_more_noise_than_voice_is_refused():
    spoken = say(0)
    loud = spoken + 0.35 * noise(len(spoken) / 16_000, 1.0)[: len(spoken)]
    with pytest.raises((TooNoisy, NoSpeech, InsufficientSpeech)):
        refuse(report_of(loud / 4, subtype="FLOAT"), default_limits())
    with pytest.raises(TooNoisy) as refused:
        refuse(report_of(spoken), QualityLimits(0.25, 59.9, 0.1, -65.0))
    assert refused.value.required_db == 59.9
    assert refused.value.measured_db < 59.9


def test_too_little_speech_names_both_numbers():
    report = report_of(say(0))
    refuse(report, default_limits())
    with pytest.raises(InsufficientSpeech) as refused:
        refuse(report, default_limits(), required_speech_s=10.0)
    assert refused.value.measured_s == report.speech_s
    assert refused.value.required_s == 10.0


def test_the_committed_clips_pass_with_no_warning():
    for voice in voices():
        for take in range(4):
            report = prepare(clip(voice, take), max_duration_s=60).report
            refuse(report, default_limits())
            assert report.warnings == ()


def test_measure_takes_a_recording_that_nobody_analysed():
    waveform = say(2)
    recording = Recording(waveform, len(waveform) / 16_000, 16_000, 1, "pcm_s16le", -6.0, 0.0)
    assert measure(recording).speech_s > 1.5


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real recordings is not here")
def test_real_recordings_are_nearly_never_refused():
    with (CORPUS / "utterances.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if row["split"] == "dev"]
    by_set: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_set[row["set"]].append(row["path"])
    refusals: Counter[str] = Counter()
    heard = 0
    for paths in by_set.values():
        for path in paths[:: max(1, len(paths) // 20)][:20]:
            heard += 1
            try:
                refuse(prepare((CORPUS / path).read_bytes(), max_duration_s=300).report, default_limits())
            except AudioRefused as refusal:
                refusals[f"{path}: {refusal.code}"] += 1
    assert heard >= 15 * 15
    assert sum(refusals.values()) <= heard // 100, refusals
