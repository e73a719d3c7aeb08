import struct
import tracemalloc
from importlib import import_module

import librosa
import numpy as np
import pytest

from app.audio.decode import decode, sniff
from app.errors import (
    AudioEmpty,
    AudioRefused,
    AudioTooLong,
    AudioUndecodable,
    InvalidSamples,
    SampleRateTooLow,
    UnsupportedMediaType,
)
from tests.codecs import KINDS, encode, remux
from tests.speech import clip, say

LIMIT_S = 30.0
CODECS = {
    "wav": "pcm_s16le",
    "flac": "flac",
    "vorbis": "vorbis",
    "aiff": "pcm_s16be",
    "au": "pcm_s16be",
    "mp3": "mp3",
    "opus": "opus",
    "m4a": "aac",
    "webm": "opus",
    "aac": "aac",
    "mp3 in wav": "mp3",
}
CONTAINERS = {"vorbis": "ogg", "opus": "ogg", "mp3 in wav": "wav"}


def likeness(first, second) -> float:
    """Greatest normalised correlation over the shifts that an encoder's run-up may cause (0.1 s)."""
    size = min(len(first), len(second)) - 3_200
    middle = first[1_600 : 1_600 + size]
    shifts = [second[i : i + size] for i in range(min(3_200, len(second) - size))]
    return max(float(middle @ s / np.sqrt((middle @ middle) * (s @ s) + 1e-12)) for s in shifts[::2])


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0, level: float = 0.3):
    return level * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_speech(kind):
    spoken = say(0)
    data = encode(spoken, kind)
    recording = decode(data, max_duration_s=LIMIT_S)
    assert sniff(data) == CONTAINERS.get(kind, kind)
    assert recording.codec == CODECS[kind]
    assert recording.waveform.dtype == np.float32
    assert recording.waveform.ndim == 1
    assert recording.duration_s == pytest.approx(len(spoken) / 16_000, abs=0.15)
    assert len(recording.waveform) == pytest.approx(recording.duration_s * 16_000, abs=2)
    assert not recording.truncated
    assert likeness(spoken, recording.waveform) > 0.9


def test_vorbis_in_webm():
    data = remux(encode(say(0), "vorbis"), "ogg", "webm")
    recording = decode(data, max_duration_s=LIMIT_S)
    assert (sniff(data), recording.codec) == ("webm", "vorbis")
    assert likeness(say(0), recording.waveform) > 0.9


@pytest.mark.parametrize(
    ("subtype", "codec", "tolerance"),
    [
        ("PCM_U8", "pcm_u8", 0.01),
        ("PCM_16", "pcm_s16le", 1e-4),
        ("PCM_24", "pcm_s24le", 1e-6),
        ("PCM_32", "pcm_s32le", 1e-6),
        ("FLOAT", "pcm_f32le", 1e-7),
        ("DOUBLE", "pcm_f64le", 1e-7),
        ("ALAW", "alaw", 0.02),
        ("ULAW", "mulaw", 0.02),
        ("IMA_ADPCM", "ima_adpcm", 0.1),
    ],
)
def test_wav_subtypes(subtype, codec, tolerance):
    spoken = say(1)
    recording = decode(encode(spoken, "wav", subtype=subtype), max_duration_s=LIMIT_S)
    assert recording.codec == codec
    assert recording.sample_rate_hz == 16_000
    np.testing.assert_allclose(recording.waveform[: len(spoken)], spoken, atol=tolerance)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_sample_rates(rate):
    recording = decode(encode(tone(rate), "wav", rate), max_duration_s=LIMIT_S)
    assert recording.sample_rate_hz == rate
    assert len(recording.waveform) == pytest.approx(16_000, abs=1)
    middle = slice(2_000, 14_000)
    np.testing.assert_allclose(recording.waveform[middle], tone(16_000)[middle], atol=1e-3)


@pytest.mark.parametrize("rate", [1, 4_000, 7_999, 192_001, 384_000])
def test_other_sample_rates_are_refused(rate):
    with pytest.raises(SampleRateTooLow) as refused:
        decode(encode(tone(8_000), "wav", rate), max_duration_s=1e5)
    assert refused.value.measured_hz == rate


def test_frequencies_above_the_band_do_not_fold_back():
    recording = decode(encode(tone(48_000, hertz=11_000), "wav", 48_000), max_duration_s=LIMIT_S)
    assert np.abs(recording.waveform[1_000:-1_000]).max() < 1e-3


def test_channels_are_averaged():
    both = np.stack([tone(16_000), 0.5 * tone(16_000)], axis=1)
    recording = decode(encode(both, "wav", subtype="FLOAT"), max_duration_s=LIMIT_S)
    assert recording.channels == 2
    np.testing.assert_allclose(recording.waveform, 0.75 * tone(16_000), atol=1e-6)
    assert decode(encode(both, "m4a"), max_duration_s=LIMIT_S).channels == 2


def test_levels_are_those_of_the_source_not_of_the_mix():
    loud = np.clip(np.stack([3 * tone(48_000, level=1.0), np.zeros(48_000)], axis=1), -1, 1)
    recording = decode(encode(loud, "wav", 48_000), max_duration_s=LIMIT_S)
    assert recording.peak_dbfs == pytest.approx(0.0, abs=0.01)
    assert recording.clipped_ratio == pytest.approx(0.5 * (1 - 2 / np.pi * np.arcsin(0.98 / 3)), abs=0.01)


@pytest.mark.parametrize("subtype", ["PCM_U8", "ALAW", "ULAW", "PCM_16", "FLOAT"])
def test_clipping_is_seen_in_every_coding(subtype):
    square = np.sign(tone(16_000, hertz=100.3))
    recording = decode(encode(square, "wav", subtype=subtype), max_duration_s=LIMIT_S)
    assert recording.clipped_ratio > 0.99


def test_a_float_file_beyond_full_scale_stays_in_range():
    recording = decode(encode(1e30 * tone(48_000), "wav", 48_000, subtype="FLOAT"), max_duration_s=LIMIT_S)
    assert np.isfinite(recording.waveform).all()
    assert np.abs(recording.waveform).max() <= 1.0
    assert recording.clipped_ratio > 0.9


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused_and_counted(bad):
    samples = np.stack([tone(16_000), tone(16_000)], axis=1)
    samples[100:103, 1] = bad
    with pytest.raises(InvalidSamples) as refused:
        decode(encode(samples, "wav", subtype="FLOAT"), max_duration_s=LIMIT_S)
    assert refused.value.count == 3


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_no_samples(kind):
    with pytest.raises(AudioEmpty):
        decode(encode(np.zeros(0), kind), max_duration_s=LIMIT_S)
    with pytest.raises(AudioEmpty):
        decode(b"", max_duration_s=LIMIT_S)


@pytest.mark.parametrize(("rate", "least"), [(8_000, 1), (16_000, 1), (192_000, 0)])
def test_one_sample(rate, least):
    recording = decode(encode(np.full(1, 0.5), "wav", rate), max_duration_s=LIMIT_S)
    assert least <= len(recording.waveform) <= 2


def test_too_many_channels_are_refused():
    with pytest.raises(AudioUndecodable, match="64 channels"):
        decode(encode(np.zeros((1_600, 64)), "wav"), max_duration_s=LIMIT_S)
    assert decode(encode(np.zeros((1_600, 16)), "wav"), max_duration_s=LIMIT_S).channels == 16


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"%PDF-1.7\n" * 50, "PDF"),
        (b"PK\x03\x04" + bytes(100), "zip"),
        (b"#EXTM3U\nhttp://127.0.0.1/x.mp3\n", "playlist"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "ff d8 ff e0"),
        (b"hello", "68 65 6c 6c"),
        (b"\x00", "00"),
    ],
)
def test_strangers_are_named(data, found):
    with pytest.raises(UnsupportedMediaType, match=found):
        decode(data, max_duration_s=LIMIT_S)


def test_a_tag_before_the_sound():
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 1, 0]) + bytes(128)
    assert sniff(tag + encode(say(0), "flac")) == "flac"
    assert sniff(tag + encode(say(0), "aac")) == "aac"
    mp3 = encode(say(0), "mp3")
    assert sniff(mp3) == "mp3"
    assert sniff(mp3[mp3.index(b"\xff\xf3", 10) :]) == "mp3"


# ------------------------------------------------------------------ the budget


@pytest.mark.parametrize("kind", KINDS)
def test_too_long(kind):
    data = encode(np.tile(say(0), 2), kind)
    with pytest.raises(AudioTooLong) as refused:
        decode(data, max_duration_s=2.0)
    assert refused.value.limit_s == 2.0


def _flac_claiming(data: bytes, samples: int) -> bytes:
    """Set the 36 bits of STREAMINFO that say how many samples there are."""
    head = bytearray(data)
    head[21] = head[21] & 0xF0 | samples >> 32 & 0x0F
    head[22:26] = struct.pack(">I", samples & 0xFFFFFFFF)
    return bytes(head)


@pytest.mark.parametrize("claim", [0, 100])
def test_a_bomb_that_claims_little_is_stopped_while_it_is_read(claim):
    bomb = _flac_claiming(encode(np.zeros(16_000 * 2_000, dtype=np.int16), "flac"), claim)
    assert len(bomb) < 1_000_000
    tracemalloc.start()
    try:
        if claim:
            assert decode(bomb, max_duration_s=LIMIT_S).duration_s < 1
        else:
            with pytest.raises(AudioTooLong):
                decode(bomb, max_duration_s=LIMIT_S)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_a_claim_is_checked_before_memory_is_taken():
    liar = _flac_claiming(encode(say(0), "flac"), 2**36 - 1)
    tracemalloc.start()
    try:
        with pytest.raises(AudioTooLong):
            decode(liar, max_duration_s=LIMIT_S)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


# ------------------------------------------------------------------ damaged files


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_streamed_wav_has_no_length(size):
    data = bytearray(encode(say(0), "wav"))
    data[4:8] = data[40:44] = struct.pack("<I", size)
    recording = decode(bytes(data), max_duration_s=LIMIT_S)
    assert len(recording.waveform) == len(say(0))
    assert not recording.truncated


@pytest.mark.parametrize("kind", ["wav", "flac", "aiff", "mp3", "webm", "aac"])
def test_a_file_that_was_cut_gives_what_there_is_and_says_so(kind):
    data = encode(say(0), kind)
    recording = decode(data[: len(data) // 2], max_duration_s=LIMIT_S)
    assert 0.8 < recording.duration_s < 2.2
    assert recording.truncated or kind == "aac"  # ADTS has no header to lie


def test_an_m4a_without_its_index_is_refused():
    data = encode(say(0), "m4a")
    with pytest.raises(AudioUndecodable) as refused:
        decode(data[: data.rindex(b"moov") - 4], max_duration_s=LIMIT_S)
    assert refused.value.container == "m4a"
    assert "Errno" not in str(refused.value)


def _damaged(data: bytes, generator: np.random.Generator) -> bytes:
    bad = np.frombuffer(data, dtype=np.uint8).copy()
    how = generator.integers(4)
    if how == 0:
        bad = bad[: generator.integers(len(bad))]
    elif how == 1:  # the head, where the lies are
        bad[generator.integers(4, min(120, len(bad)), size=4)] = generator.integers(256, size=4)
    elif how == 2:
        bad[generator.integers(4, len(bad), size=50)] = generator.integers(256, size=50)
    else:
        start = int(generator.integers(4, len(bad)))
        bad = np.concatenate([bad[:start], bad[start + int(generator.integers(1, 500)) :]])
    return bad.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_or_survived_never_more(kind):
    data = encode(say(0)[:24_000], kind)
    generator = np.random.default_rng(7)
    for _ in range(150):
        try:
            recording = decode(_damaged(data, generator), max_duration_s=LIMIT_S)
        except AudioRefused:
            continue
        assert np.isfinite(recording.waveform).all()
        assert 0 < recording.duration_s <= LIMIT_S


def test_the_committed_clips_decode():
    recording = decode(clip("june", 3), max_duration_s=LIMIT_S)
    assert recording.codec == "opus"
    assert recording.sample_rate_hz == 16_000
    assert 2.5 < recording.duration_s < 4.5


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("block", [999, 16_384, 1 << 20])
def test_a_recording_is_resampled_as_it_is_read_and_comes_out_the_same(rate, block, monkeypatch):
    monkeypatch.setattr(import_module("app.audio.decode"), "_BLOCK_SAMPLES", block)
    source = tone(rate, 1.37, 300.0).astype(np.float32)
    decoded = decode(encode(source, "wav", rate, subtype="FLOAT"), max_duration_s=LIMIT_S)
    whole = librosa.resample(source, orig_sr=rate, target_sr=16_000, res_type="soxr_hq")
    np.testing.assert_array_equal(decoded.waveform, whole)


def test_minutes_at_48_khz_are_held_at_16_khz_only():
    source = np.tile(tone(48_000), 240).astype(np.float32)
    data = encode(source, "wav", 48_000)
    del source
    tracemalloc.start()
    decoded = decode(data, max_duration_s=300.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * decoded.waveform.nbytes, "48 kHz alone would be three times as much, twice"
