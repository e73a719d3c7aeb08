"""A recording is known again in another coding, in part, over a line, in a room; other recordings are not."""

from collections.abc import Callable

import librosa
import numpy as np
import pytest
import scipy.signal

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.audio import prepare
from app.audio.decode import decode
from app.audio.fingerprint import COPY, LONGEST_S, ROW, find_copy, fingerprint
from tests.codecs import encode
from tests.speech import say, voices

Change = Callable[[Waveform], Waveform]


def recoded(kind: str, rate: int = SAMPLE_RATE_HZ, **options: int | str) -> Change:
    def change(waveform: Waveform) -> Waveform:
        sent = librosa.resample(waveform, orig_sr=SAMPLE_RATE_HZ, target_sr=rate)
        data = encode(sent, kind, rate, **options)  # type: ignore[arg-type]
        return decode(data, max_duration_s=60.0).waveform

    return change


def noisy(snr_db: float) -> Change:
    def change(waveform: Waveform) -> Waveform:
        noise = np.random.default_rng(3).normal(size=len(waveform)).astype(np.float32)
        return waveform + noise * np.sqrt(np.mean(waveform**2) / 10 ** (snr_db / 10))

    return change


def in_a_room(waveform: Waveform) -> Waveform:
    rng = np.random.default_rng(4)
    times = np.arange(round(0.4 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    response = rng.normal(size=len(times)) * np.exp(-times / 0.06)
    response[0] = 4.0
    heard = scipy.signal.fftconvolve(waveform, response)
    return (0.5 * heard / np.abs(heard).max()).astype(np.float32)


def played_at(speed: float) -> Change:
    return lambda waveform: librosa.resample(
        waveform, orig_sr=round(SAMPLE_RATE_HZ * speed), target_sr=SAMPLE_RATE_HZ
    )


def with_silence(waveform: Waveform) -> Waveform:
    return np.concatenate([np.zeros(20_011, np.float32), waveform, np.zeros(9_000, np.float32)])


CHANGES: dict[str, Change] = {
    "mp3": recoded("mp3", bit_rate=64_000),
    "opus": recoded("opus", 48_000, bit_rate=16_000),
    "telephone": recoded("wav", 8_000, subtype="ULAW"),
    "GSM": recoded("wav", 8_000, subtype="GSM610"),
    "quiet": lambda waveform: waveform * np.float32(0.05),
    "a part": lambda waveform: waveform[12_345 : 12_345 + 24_000],
    "silence around": with_silence,
    "a little faster": played_at(1.01),
    "a little slower": played_at(0.99),
    "noise": noisy(20.0),
    "much noise": noisy(10.0),
    "a room": in_a_room,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_recording_is_known_again(change: Change) -> None:
    spoken = say(1, "cleo")
    others = [say(take, "cleo") for take in (0, 2, 3)]
    found = find_copy(fingerprint(change(spoken)), [*map(fingerprint, others), fingerprint(spoken)])
    assert found is not None
    assert found.place == len(others)
    assert found.similarity >= COPY
    assert found.seconds > 1.0


def test_recordings_of_other_words_and_other_voices_are_not_copies() -> None:
    recordings = {(voice, take): fingerprint(say(take, voice)) for voice in voices() for take in range(4)}
    for this, heard in recordings.items():
        found = find_copy(heard, [known for other, known in recordings.items() if other != this])
        assert found is not None
        assert found.similarity < COPY


def test_a_part_of_a_copy_among_other_speech_is_enough() -> None:
    known = fingerprint(say(0, "dan"))
    pasted = np.concatenate([say(1, "dan"), say(0, "dan")[: 3 * SAMPLE_RATE_HZ], say(2, "dan")])
    found = find_copy(fingerprint(pasted), [known])
    assert found is not None
    assert found.similarity >= COPY


@pytest.mark.parametrize("samples", [0, 1, 3_071, 3_072, 5_119, 5_120, 5_632])
def test_short_recordings_have_few_rows_or_none(samples: int) -> None:
    made = fingerprint(say(0)[:samples])
    assert made.dtype == np.uint8
    assert made.shape == (max(0, (samples - 3_072) // 512 + 1 - 4), ROW)


def test_a_fingerprint_ends_after_its_longest_time() -> None:
    long = np.tile(say(0), 40)
    assert len(long) > (LONGEST_S + 10) * SAMPLE_RATE_HZ
    made = fingerprint(long)
    assert len(made) == (LONGEST_S * SAMPLE_RATE_HZ - 3_072) // 512 + 1 - 4
    assert np.array_equal(made, fingerprint(long[: round(LONGEST_S * SAMPLE_RATE_HZ)]))


def test_silence_is_a_copy_of_nothing() -> None:
    silence = fingerprint(np.zeros(SAMPLE_RATE_HZ * 3, np.float32))
    for known in (silence, fingerprint(say(0))):
        found = find_copy(silence, [known])
        assert found is not None
        assert found.similarity == 0.0
        assert found.seconds == 0.0


def test_nothing_is_compared_with_nothing() -> None:
    nothing = np.zeros((0, ROW), np.uint8)
    assert find_copy(fingerprint(say(0)), []) is None
    assert find_copy(fingerprint(say(0)), [nothing]) is None
    assert find_copy(nothing, [fingerprint(say(0))]) is None


def test_the_level_does_not_matter() -> None:
    spoken = say(2, "emil")
    assert np.mean(fingerprint(spoken) == fingerprint(spoken * np.float32(0.25))) > 0.999


def test_it_is_part_of_the_utterance() -> None:
    spoken = say(0)
    made = prepare(encode(spoken, "flac"), max_duration_s=60.0).fingerprint
    found = find_copy(made, [fingerprint(spoken)])
    assert found is not None
    assert found.similarity > 0.8
