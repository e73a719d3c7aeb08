"""Texts as characters: what is kept of them, and how many edits lie between two."""

import numpy as np
import pytest

from training.transcripts import Alphabet, alphabet_of, edits, frames_needed, spoken_characters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't — stop, PLEASE!", "dont stop please"),
        ('"Straße"', "strasse"),
        ("ﬁne  ｆｉｎｅ", "fine fine"),
        ("Cafe\u0301", "café"),
        ("हिन्दी।", "हिन्दी"),
        ("Що? Так…", "що так"),
        ("_onword_ %uh ^john )", "onword uh john"),
        ("…", ""),
    ],
)
def test_only_what_is_said_stays_of_a_text(text: str, expected: str) -> None:
    assert spoken_characters(text) == expected


def test_the_alphabet_is_the_most_frequent_letters_and_never_a_digit() -> None:
    assert alphabet_of(["aaabbbb c", "a 1"], 3).characters == ("a", "b", " ")
    assert alphabet_of([""], 3).characters == ()


def test_a_text_beyond_the_alphabet_is_not_encoded() -> None:
    alphabet = Alphabet(("a", "b", " "))
    assert alphabet.encode("A b!") == [1, 3, 2]
    assert alphabet.decode([1, 3, 2, 0, -1]) == "a b"
    assert alphabet.encode("abc") is None
    assert alphabet.encode("a 1") is None
    assert alphabet.encode("!") is None


def test_a_blank_must_stand_between_letters_that_are_alike() -> None:
    assert frames_needed([1, 1, 2, 2, 2]) == 8
    assert frames_needed([1, 2]) == 2


@pytest.mark.parametrize(
    ("wanted", "said", "count"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("same", "same", 0), ("abc", "cab", 2)],
)
def test_edits(wanted: str, said: str, count: int) -> None:
    assert edits(wanted, said) == count


def test_edits_agree_with_the_plain_recursion() -> None:
    def plain(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(plain(a[1:], b) + 1, plain(a, b[1:]) + 1, plain(a[1:], b[1:]) + (a[0] != b[0]))

    chance = np.random.default_rng(0)
    for _ in range(60):
        a, b = ("".join(chance.choice(list("abc"), chance.integers(0, 6))) for _ in range(2))
        assert edits(a, b) == plain(a, b)
