"""The score of asked digits: against every path through all tokens, on frames that are known."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from app.digits.alignment import BLANK, FIRST, OTHER, TOKENS, Frames, alignment_score, heard_digits


def random_frames(count: int, seed: int) -> Frames:
    logits = np.random.default_rng(seed).normal(0, 2, (count, TOKENS))
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def says(tokens: Sequence[int]) -> list[int]:
    """What a path of tokens says: alike ones beside each other once, without blanks and other words."""
    kept = [token for token, _ in itertools.groupby(tokens)]
    return [token - FIRST for token in kept if token not in (BLANK, OTHER)]


def best_by_trying_all(frames: Frames, digits: list[int]) -> float:
    tokens = sorted({BLANK, OTHER, *(FIRST + digit for digit in digits)})
    paths = itertools.product(tokens, repeat=len(frames))
    of_path = [sum(frames[n, t] for n, t in enumerate(path)) for path in paths if says(path) == digits]
    return float(max(of_path, default=-np.inf))


@pytest.mark.parametrize("digits", [[3], [3, 5], [5, 5], [1, 2, 1], [4, 4, 4]])
@pytest.mark.parametrize("seed", range(4))
def test_the_score_is_that_of_the_best_of_all_paths(digits: list[int], seed: int) -> None:
    frames = random_frames(6, seed)
    expected = (best_by_trying_all(frames, digits) - frames.max(axis=1).sum()) / len(digits)
    assert alignment_score(frames, digits) == pytest.approx(expected, abs=1e-4)


def certain(tokens: Sequence[int]) -> Frames:
    frames = np.full((len(tokens), TOKENS), np.log(0.01 / (TOKENS - 1)), np.float32)
    frames[np.arange(len(tokens)), tokens] = np.log(0.99)
    return frames


def test_what_is_said_scores_zero_and_everything_else_less() -> None:
    frames = certain([0, 5, 5, 0, 9, 0, 0, 2, 2, 0])
    assert heard_digits(frames) == [4, 8, 1]
    assert alignment_score(frames, [4, 8, 1]) == pytest.approx(0)
    for wrong in ([4, 8], [4, 8, 2], [1, 8, 4], [4, 8, 1, 1], [8, 4, 1], [4, 1]):
        assert alignment_score(frames, wrong) < -1.5, wrong


@pytest.mark.parametrize("place", [0, 3, 9])
def test_other_words_around_the_digits_cost_nothing(place: int) -> None:
    tokens = [0, 5, 5, 0, 9, 0, 0, 2, 2]
    frames = certain([*tokens[:place], OTHER, 0, OTHER, *tokens[place:]])
    assert alignment_score(frames, [4, 8, 1]) == pytest.approx(0)


def test_more_digits_than_were_asked_for_do_not_pass() -> None:
    every_digit = [token for digit in range(10) for token in (FIRST + digit, BLANK)] * 6
    assert alignment_score(certain(every_digit), [4, 8, 1, 9, 0, 2]) < -5


def test_too_few_frames_say_nothing() -> None:
    assert alignment_score(random_frames(2, 0), [1, 2, 3]) == -np.inf
    assert alignment_score(np.zeros((0, TOKENS), np.float32), [1]) == -np.inf
    assert heard_digits(np.zeros((0, TOKENS), np.float32)) == []
