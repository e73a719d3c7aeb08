"""What the digit model learns from: speech made once, augmented, and kept as frames of a few lengths."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import keras
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.digits.alignment import OTHER
from training.augment import AugmentConfig, Augmenter
from training.digit_speech import WORDS, Said, at_speed, phones_of, put_together, read_said, synthetic
from training.segments import filled
from training.spectra import HOP, WINDOW, Spectra

SENTENCES: Final = ("speechocean762", "wuw_telephone", "common_voice_en")
SINGLE: Final = ("fsdd", "speech_commands")
LENGTHS: Final = tuple(int(s * SAMPLE_RATE_HZ) for s in (1.92, 2.88, 3.84, 5.12))
"""Speech is repeated until it fills the next of these, in samples: few shapes to compile."""
STRIDE: Final = 2
"""Frames in a step of the network."""
_MOST_TOKENS, _MOST_PHONES, _TOGETHER = 16, 64, 32
_CARRIERS: Final = (
    *("my code is", "the number is", "it is", "hello", "please take", "okay", "thank you", "that was it"),
    *("i said", "let me see", "once again", "yes", "good morning", "this is", "the digits are", "here it is"),
)
_Thing = TypeVar("_Thing")


@dataclass(frozen=True)
class Mixture:
    """How much of which speech is made."""

    sentences: int = 3300
    """Recordings of sentences, drawn once each."""
    spoken_strings: int = 2500
    """Copies of recordings that hold digits in running speech."""
    joined_strings: int = 4500
    """Strings joined from recordings of single digits."""
    synthetic_strings: int = 3200
    """Strings and sentences spoken by synthetic voices."""
    other_words: int = 900
    """Strings joined from recordings of other words."""


class Material:
    """Recordings, and the strings that are made of them.

    Args:
        manifest: CSV of the corpus.
        noises: CSV of noises and responses, where there is one.
        augment: How strings are changed.
        seed: Of everything that is drawn.
    """

    def __init__(self, manifest: Path, noises: Path | None, augment: AugmentConfig, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.sentences = read_said(manifest, SENTENCES, "train", LENGTHS[-1] / SAMPLE_RATE_HZ + 0.5)
        single = read_said(manifest, SINGLE, "train", 2.0)
        self.others = [said for said in single if said.digits is None]
        self.by_speaker: dict[str, list[Said]] = {}
        for said in single:
            if said.digits is not None:
                voice = said.speaker_id if said.set_name == "fsdd" else "volunteers"
                self.by_speaker.setdefault(voice, []).append(said)
        self.augmenter = Augmenter(augment, noises, self._babble, seed)

    def _babble(self, length: int, rng: np.random.Generator) -> Waveform:
        return np.resize(self.sentences[rng.integers(len(self.sentences))].waveform, length)

    def everything(self, mixture: Mixture) -> Iterator[Said]:
        """Every recording of the pool, augmented."""
        digits = [s for s in self.sentences if any(word in WORDS for word in s.words)]
        plain = [s for s in self.sentences if not any(word in WORDS for word in s.words)]
        order = iter(self.rng.permutation(len(plain)).tolist())
        kinds: tuple[tuple[int, Callable[[], Said]], ...] = (
            (min(mixture.sentences, len(plain)), lambda: plain[next(order)]),
            (mixture.spoken_strings, lambda: self.spoken(digits)),
            (mixture.joined_strings, self.joined),
            (mixture.synthetic_strings, self.spoken_by_machine),
            (mixture.other_words, lambda: put_together(self._drawn(self.others, 2, 6), self.rng)),
        )
        for count, make in kinds:
            for _ in tqdm(range(count), desc="making speech", unit="string"):
                yield self.changed(make())

    def changed(self, said: Said) -> Said:
        """The same at another speed and somewhere else; one in six stays as it is."""
        if self.rng.random() < 1 / 6:
            return said
        said = at_speed(said, float(self.rng.uniform(0.87, 1.15)))
        return replace(said, waveform=self.augmenter(said.waveform, self.rng))

    def spoken(self, sentences: Sequence[Said]) -> Said:
        """Digits in running speech: mostly of nothing else, one recording or two of them joined."""
        pure = [s for s in sentences if s.digits and len(s.digits) > 1]
        if self.rng.random() < 0.75 and pure:
            return put_together(self._drawn(pure, 1, 3), self.rng)
        return self._one(sentences)

    def joined(self) -> Said:
        """Single digits of one voice, or of several volunteers, now and then with another word among them."""
        voices = list(self.by_speaker.values())
        pieces = self._drawn(self._one(voices), 1, 8)
        if self.rng.random() < 0.15:
            pieces.insert(int(self.rng.integers(len(pieces) + 1)), self._one(self.others))
        return put_together(pieces, self.rng)

    def spoken_by_machine(self) -> Said:
        """A synthetic voice with digits, which other words may surround, or with a sentence."""
        digits = [WORDS[d] for d in self.rng.integers(0, 10, self.rng.integers(2, 9))]
        chance = self.rng.random()
        if chance < 0.15:
            return synthetic(self._one(self.sentences).words, self.rng)
        if chance < 0.35:
            carrier = self._one(_CARRIERS).split()
            return synthetic(digits + carrier if self.rng.random() < 0.3 else carrier + digits, self.rng)
        return synthetic(digits, self.rng)

    def _one(self, among: Sequence[_Thing]) -> _Thing:
        return among[int(self.rng.integers(len(among)))]

    def _drawn(self, among: Sequence[Said], least: int, below: int) -> list[Said]:
        return [self._one(among) for _ in range(self.rng.integers(least, below))]


def write_pool(material: Material, mixture: Mixture, front: Spectra, pool: Path) -> str:
    """Makes the speech once and keeps its frames, in half precision, one array for each length.

    Args:
        material: What it is made of.
        mixture: How much of which.
        front: The front end.
        pool: The .npz file to write.

    Returns:
        How much there is, in words.
    """
    said = [s for s in material.everything(mixture) if len(s.waveform) <= LENGTHS[-1]]
    phones = phones_of(s.words for s in said)
    names = sorted({phone for spoken in phones.values() for phone in spoken})
    number = {name: n for n, name in enumerate(names, 1)}
    arrays: dict[str, Any] = {"phones": np.array(names)}
    for place, length in enumerate(LENGTHS):
        below = LENGTHS[place - 1] if place else 0
        chosen = [s for s in said if below < len(s.waveform) <= length]
        arrays[f"frames{place}"] = _frames(chosen, length, front)
        steps = np.array([steps_of(len(s.waveform)) for s in chosen], np.int64)
        spoken = [tuple(number[p] for p in phones[s.words]) for s in chosen]
        arrays[f"digits{place}"] = _targets([s.tokens for s in chosen], steps, _MOST_TOKENS)
        arrays[f"phones{place}"] = _targets(spoken, steps, _MOST_PHONES)
    pool.parent.mkdir(parents=True, exist_ok=True)
    np.savez(pool, **arrays)
    hours = sum(len(s.waveform) for s in said) / SAMPLE_RATE_HZ / 3600
    return f"{len(said)} recordings, {hours:.2f} h"


def _frames(said: Sequence[Said], length: int, front: Spectra) -> npt.NDArray[np.float16]:
    """float16 (recordings, frames, features) of speech that is repeated to `length` samples."""
    found = [np.zeros((0, 1 + (length - WINDOW) // HOP, front.features), np.float16)]
    for first in range(0, len(said), _TOGETHER):
        waveforms = np.stack([filled(each.waveform, length) for each in said[first : first + _TOGETHER]])
        found.append(np.asarray(keras.ops.convert_to_numpy(front(waveforms)), np.float16))
    return np.concatenate(found)


def steps_of(samples: int) -> int:
    """Steps of the network over so many samples, 20 ms each."""
    return max(-(-(1 + (samples - WINDOW) // HOP) // STRIDE), 1)


def _targets(
    sequences: Sequence[Sequence[int]], steps: npt.NDArray[np.int64], most: int
) -> npt.NDArray[np.int32]:
    """What `TranscriptLoss` takes: steps, tokens, zeros. No tokens where there are none, or too many."""
    found = np.zeros((len(sequences), 1 + most), np.int32)
    found[:, 0] = steps
    for row, sequence in zip(found, sequences, strict=True):
        # Twice as many steps as tokens leave room for the blanks between those that are alike.
        if len(sequence) <= min(most, row[0] // 2 + 1):
            row[1 : 1 + len(sequence)] = sequence
    return found


class PoolBatches(keras.utils.PyDataset):
    """Batches of one length each, in another order each epoch: (frames, targets, weights) by head."""

    def __init__(self, pool: Path, batch: int, seed: int) -> None:
        super().__init__()
        with np.load(pool) as arrays:
            self.phones = len(arrays["phones"])
            names = ("frames", "digits", "phones")
            self.groups = [[arrays[f"{n}{place}"] for n in names] for place in range(len(LENGTHS))]
        self.batch, self.rng = batch, np.random.default_rng(seed)
        self.plan: list[tuple[int, npt.NDArray[np.int64]]] = []
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Draws another order."""
        self.plan = []
        for group, (frames, *_) in enumerate(self.groups):
            order = self.rng.permutation(len(frames))
            full = len(order) - len(order) % self.batch
            self.plan += [(group, rows) for rows in order[:full].reshape(-1, self.batch)]
        self.plan = [self.plan[n] for n in self.rng.permutation(len(self.plan))]

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> tuple[Any, Any, Any]:
        group, rows = self.plan[index]
        frames, digits, phones = (array[rows] for array in self.groups[group])
        targets, weights = {}, {}
        for name, said in (("digits", digits), ("phones", phones)):
            known = said[:, 1] > 0
            # What is not known costs nothing; a token keeps its loss finite.
            said[~known, 1] = OTHER
            only_other = (said[:, 1] == OTHER) & (said[:, 2] == 0) if name == "digits" else ~known
            targets[name], weights[name] = said, known * np.where(only_other, 0.3, 1.0).astype(np.float32)
        return frames.astype(np.float32), targets, weights
