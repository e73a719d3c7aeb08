"""Texts as sequences of characters that a recogniser can learn, and how far what it says is from them."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_SILENT = "'’ʼ"
"""Marks inside words that are not said; they vanish, where other punctuation parts two words."""


def spoken_characters(text: str) -> str:
    """A text in lower case, without punctuation, its words apart by single spaces.

    Letters, their marks and digits stay, in whatever script; compatibility forms become the plain ones.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in folded if c not in _SILENT)
    return " ".join("".join(kept).split())


@dataclass(frozen=True)
class Alphabet:
    """The characters that are recognised. Number 0 is the blank of CTC, the first character is 1.

    Attributes:
        characters: Each of length 1, the most frequent first.
    """

    characters: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> list[int] | None:
        """The numbers of a text's characters; None for an empty text, or one with any other character."""
        number = {character: n for n, character in enumerate(self.characters, 1)}
        spoken = spoken_characters(text)
        return [number[c] for c in spoken] if spoken and number.keys() >= set(spoken) else None

    def decode(self, numbers: Iterable[int]) -> str:
        """The characters of numbers; blanks and padding (0 and below) say nothing."""
        return "".join(self.characters[number - 1] for number in numbers if number > 0)


def alphabet_of(texts: Iterable[str], most: int) -> Alphabet:
    """The `most` most frequent characters of texts.

    Digits are none: nothing tells how they were read. Of many scripts the rarer ones do not get in.
    """
    counts = Counter(c for text in texts for c in spoken_characters(text))
    letters = sorted((c for c in counts if unicodedata.category(c)[0] != "N"), key=lambda c: (-counts[c], c))
    return Alphabet(tuple(letters[:most]))


def frames_needed(numbers: Sequence[int]) -> int:
    """Least frames of CTC for a text: one a character, and a blank between two that are alike."""
    return len(numbers) + sum(a == b for a, b in pairwise(numbers))


def edits(wanted: str, said: str) -> int:
    """Characters to insert, delete or replace until one text is the other.

    Source: Levenshtein, 1966; by Wagner and Fischer's table, 1974.
    """
    row = np.arange(len(said) + 1)
    for count, character in enumerate(wanted, 1):
        differs = np.array([character != c for c in said], int)
        best = np.minimum(row[1:] + 1, row[:-1] + differs)
        # What is left are insertions, which run along the row.
        row = np.concatenate([[count], best])
        row = np.minimum.accumulate(row - np.arange(len(row))) + np.arange(len(row))
    return int(row[-1])
