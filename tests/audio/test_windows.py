import numpy as np
import pytest

from app.audio import prepare
from app.audio.speech import runs, speech_mask
from app.audio.windows import join, speech_only, windows
from tests.codecs import encode
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
    waveform = np.arange(16_000, dtype=np.float32) / np.float32(16_000)
    mask = np.zeros(101, dtype=bool)
    mask[40:60] = True
    np.testing.assert_array_equal(speech_only(waveform, mask), waveform[4_800:11_200])
    mask[:] = True
    np.testing.assert_array_equal(speech_only(waveform, mask), waveform)


def test_the_pieces_say_where_the_speech_lay_in_the_recording():
    recording = np.concatenate([room(3), say(0), room(5), say(1), room(4)])
    heard = prepare(encode(recording, "wav", subtype="FLOAT"), max_duration_s=60.0)
    np.testing.assert_array_equal(join(recording, heard.pieces), heard.waveform)
    assert heard.pieces[0][0] == pytest.approx(3.2 * 16_000, abs=4_000)
    assert heard.pieces[-1][1] == pytest.approx(len(recording) - 4.2 * 16_000, abs=6_000)
    assert all(a[1] < b[0] for a, b in zip(heard.pieces, heard.pieces[1:], strict=False))


def test_without_speech_the_recording_is_one_piece():
    heard = prepare(encode(room(2), "wav"), max_duration_s=60.0)
    assert heard.pieces == ((0, 32_000),)


def test_windows_keep_to_their_piece_and_their_cells_fill_it():
    pieces = ((8_000, 8_000 + 80_000), (100_000, 110_000), (120_000, 144_000))
    found = windows(pieces, 1.5, 0.75)
    lengths = found.cuts[:, 1] - found.cuts[:, 0]
    assert lengths.tolist() == [24_000] * 6 + [10_000] + [24_000]
    assert found.cuts[0, 0] == 0
    assert found.cuts[5, 1] == 80_000
    assert found.cuts[6].tolist() == [80_000, 90_000]
    assert found.cuts[7].tolist() == [90_000, 114_000]
    assert np.diff(found.cuts[:6, 0]).max() <= 12_000
    for start, stop in pieces:
        inside = (found.cells[:, 0] >= start / 16_000) & (found.cells[:, 1] <= stop / 16_000)
        cells = found.cells[inside]
        assert cells[0, 0] == start / 16_000
        assert cells[-1, 1] == stop / 16_000
        np.testing.assert_array_equal(cells[1:, 0], cells[:-1, 1])
    assert (found.cells[:, 1] > found.cells[:, 0]).all()


@pytest.mark.parametrize("samples", [1, 400, 23_999, 24_000, 24_001, 36_000, 36_001])
def test_windows_of_awkward_lengths(samples):
    found = windows(((0, samples),), 1.5, 0.75)
    assert found.cuts[0, 0] == 0
    assert found.cuts[-1, 1] == samples
    assert len(found) == 1 + max(0, -(-(samples - 24_000) // 12_000))
