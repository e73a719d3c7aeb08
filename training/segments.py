"""Words of recordings: clips of one word as they are, sentences cut where they are quiet."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TypeAlias, TypeVar

import librosa
import numpy as np
import numpy.typing as npt

from app.arrays import SAMPLE_RATE_HZ, Waveform
from training.corpus import Corpus
from training.groups import Columns

QUIET_DB = 30.0
"""This far under its loudest window, speech has paused."""
LEAST_S, MOST_S = 0.12, 0.6
"""Shortest and longest piece that a sentence is cut into; a word of running speech lasts about 0.3 s."""
_STRETCH_S = 8.0
_WINDOW, _HOP = 800, 160  # 50 ms hold several periods of any voice: the level does not follow the pitch

_T = TypeVar("_T")
Around: TypeAlias = list[Waveform | None]
"""A word, then the words before and behind it in their order; None where the sentence has no more."""


def spoken_part(waveform: Waveform) -> Waveform:
    """A recording without the quiet before and behind its speech."""
    trimmed: Waveform = librosa.effects.trim(
        waveform, top_db=QUIET_DB, frame_length=_WINDOW, hop_length=_HOP
    )[0]
    return trimmed


def filled(word: Waveform, length: int) -> Waveform:
    """A word that is repeated until it fills `length` samples; of a longer one its beginning.

    Zeros behind it would change its level and its mean in the front end, repetition hardly does.
    """
    return np.resize(word, length)


def cut_at_valleys(waveform: Waveform) -> list[Waveform]:
    """Cuts a sentence into pieces as long as words, in their order.

    Pauses are dropped. Whatever is longer than MOST_S is cut where it is quietest, and again until no piece
    is. That finds syllables and groups of them; it knows nothing of words.
    """
    level = librosa.feature.rms(y=waveform, frame_length=_WINDOW, hop_length=_HOP)[0]
    spans = librosa.effects.split(waveform, top_db=QUIET_DB, frame_length=_WINDOW, hop_length=_HOP)
    pieces = []
    for start, end in spans:
        windows = slice(start // _HOP, -(-end // _HOP))
        pieces += np.split(waveform[start:end], [_HOP * place for place in _valleys(level[windows])])
    return [piece for piece in pieces if len(piece) >= LEAST_S * SAMPLE_RATE_HZ]


def _valleys(level: npt.NDArray[np.float32]) -> list[int]:
    """Windows at which a span is cut, rising."""
    least, most = (int(seconds * SAMPLE_RATE_HZ / _HOP) for seconds in (LEAST_S, MOST_S))
    if len(level) <= most:
        return []
    valley = least + int(np.argmin(level[least:-least]))
    return [*_valleys(level[:valley]), valley, *(valley + place for place in _valleys(level[valley:]))]


def word_clips(utterance_ids: Iterable[str], columns: Columns) -> dict[str, str]:
    """The word of every recording of one word, by utterance id.

    A text without a space is taken for a word when several recordings say it: sentences of scripts that
    write none are rarely said twice.
    """
    texts = {name: columns.get(name, {}).get("text", "").strip().casefold() for name in utterance_ids}
    said = Counter(texts.values())
    return {name: text for name, text in texts.items() if len(text.split()) == 1 and said[text] > 1}


class Words:
    """Words and their neighbours, wherever a corpus has them.

    The neighbours of a clip of one word are the clips of its speaker's same session that stand beside it in
    the corpus. Those are no sentences: the words follow each other as somebody recorded or sorted them.

    Args:
        corpus: The recordings.
        columns: The manifest's columns, of which `text` and `session` are read; without them, everything is
            a sentence.
        window: Words before and behind a word that count as its neighbours.
    """

    def __init__(self, corpus: Corpus, columns: Columns, window: int) -> None:
        self.corpus, self.window = corpus, window
        words = word_clips(corpus.utterance_ids, columns)
        sequences: dict[tuple[int, str], list[int]] = defaultdict(list)
        self.place: dict[int, tuple[list[int], int]] = {}
        for recording, name in enumerate(corpus.utterance_ids):
            if name in words:
                session = columns[name].get("session", "")
                sequence = sequences[int(corpus.speakers[recording]), session]
                self.place[recording] = (sequence, len(sequence))
                sequence.append(recording)

    def around(self, recording: int, rng: np.random.Generator) -> Around:
        """A word of a recording and its neighbours: 1 + 2 * window of them; all None where none is heard."""
        if recording in self.place:
            sequence, centre = self.place[recording]
            return [
                None if other is None else spoken_part(self.corpus.waveform(other))
                for other in self._beside(sequence, centre)
            ]
        stretch = min(int(self.corpus.lengths[recording]), int(_STRETCH_S * SAMPLE_RATE_HZ))
        pieces = cut_at_valleys(self.corpus.crop(recording, stretch, rng))
        return self._beside(pieces, int(rng.integers(max(len(pieces), 1))))

    def _beside(self, sequence: list[_T], centre: int) -> list[_T | None]:
        places = [centre, *(centre + step for step in range(-self.window, self.window + 1) if step)]
        return [sequence[place] if 0 <= place < len(sequence) else None for place in places]
