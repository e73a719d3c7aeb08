"""Words of recordings: cut where it is quiet, neighbours in their order."""

import numpy as np

from app.arrays import SAMPLE_RATE_HZ, Waveform
from training.corpus import Corpus, corpus_of
from training.segments import LEAST_S, MOST_S, Words, cut_at_valleys, filled, spoken_part, word_clips


def tone(seconds: float, level: float = 0.3) -> Waveform:
    time = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return np.asarray(level * np.sin(2 * np.pi * 220 * time), np.float32)


def silence(seconds: float) -> Waveform:
    return np.zeros(int(seconds * SAMPLE_RATE_HZ), np.float32)


def corpus(sounds: list[Waveform], speakers: list[str]) -> Corpus:
    samples = np.concatenate([np.round(sound * 32767).astype(np.int16) for sound in sounds])
    rows = [
        (f"u{n}", who, "s", len(sound)) for n, (sound, who) in enumerate(zip(sounds, speakers, strict=True))
    ]
    return corpus_of(samples, rows)


def test_pauses_part_words() -> None:
    sentence = np.concatenate([tone(0.3), silence(0.3), tone(0.4), silence(0.3), tone(0.5)])
    lengths = [len(piece) / SAMPLE_RATE_HZ for piece in cut_at_valleys(sentence)]
    assert np.allclose(lengths, [0.3, 0.4, 0.5], atol=0.06)


def test_long_speech_is_cut_where_it_is_quietest() -> None:
    sentence = np.concatenate([tone(0.45), tone(0.1, level=0.05), tone(0.45)])
    pieces = cut_at_valleys(sentence)
    assert len(pieces) == 2
    assert abs(len(pieces[0]) / SAMPLE_RATE_HZ - 0.5) < 0.04
    assert np.array_equal(np.concatenate(pieces), sentence)


def test_no_piece_is_longer_or_shorter_than_words_are() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 5 * SAMPLE_RATE_HZ).astype(np.float32)
    lengths = [len(piece) / SAMPLE_RATE_HZ for piece in cut_at_valleys(noise)]
    assert len(lengths) > 8
    assert max(lengths) <= MOST_S + 0.01
    assert min(lengths) >= LEAST_S


def test_a_click_is_no_word() -> None:
    assert len(cut_at_valleys(np.concatenate([tone(0.4), silence(0.5), tone(0.01)]))) == 1


def test_a_word_fills_its_crop_by_repetition() -> None:
    word = tone(0.1)
    assert np.array_equal(filled(word, 4000), np.concatenate([word, word, word])[:4000])
    assert np.array_equal(filled(word, 1000), word[:1000])


def test_the_quiet_around_a_word_goes() -> None:
    word = spoken_part(np.concatenate([silence(0.4), tone(0.3), silence(0.4)]))
    assert abs(len(word) / SAMPLE_RATE_HZ - 0.3) < 0.06


def test_a_word_is_a_text_without_a_space_that_several_recordings_say() -> None:
    texts = {
        "a": "Yes",
        "b": "yes ",
        "c": "two words",
        "d": "two words",
        "e": "唯一のことば",
        "f": "",
        "g": "",
    }
    columns = {name: {"text": text} for name, text in texts.items()}
    assert word_clips([*texts, "h"], columns) == {"a": "yes", "b": "yes"}


def test_neighbours_of_a_clip_are_those_beside_it_of_its_speaker_and_session() -> None:
    sounds = [tone(0.2 + 0.05 * n) for n in range(6)]
    who = ["a", "a", "b", "a", "a", "a"]
    columns = {f"u{n}": {"text": "yes", "session": "2" if n == 5 else "1"} for n in range(6)}
    words = Words(corpus(sounds, who), columns, window=2)
    around = words.around(3, np.random.default_rng(0))
    lengths = [None if word is None else round(len(word) / SAMPLE_RATE_HZ, 2) for word in around]
    # Itself, then u0, u1 and u4 of the same session; u2 is another speaker's and u5 another session's.
    assert lengths == [0.35, 0.2, 0.25, 0.4, None]


def test_neighbours_in_a_sentence_are_its_other_pieces() -> None:
    pieces = [tone(0.2), tone(0.3), tone(0.4)]
    sentence = np.concatenate([pieces[0], silence(0.3), pieces[1], silence(0.3), pieces[2]])
    words = Words(corpus([sentence], ["a"]), {}, window=1)
    seen = set()
    for seed in range(20):
        around = words.around(0, np.random.default_rng(seed))
        seen.add(tuple(0 if word is None else round(len(word) / SAMPLE_RATE_HZ, 1) for word in around))
    assert seen == {(0.2, 0, 0.3), (0.3, 0.2, 0.4), (0.4, 0.3, 0)}


def test_silence_has_no_words() -> None:
    assert (
        Words(corpus([silence(0.05)], ["a"]), {}, window=1).around(0, np.random.default_rng(0)) == [None] * 3
    )
