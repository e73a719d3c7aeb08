import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage

from app.scoring import Calibration, OperatingPoint, ScoreModel
from app.scoring.turns import TurnRules, rules_of, several_voices, turns_of, voices_of

RULES = TurnRules(split=2.76, join=0.28, apart=1.85)
DIM = 192


def speech(voices: list[int], each: int = 10, cosine: float = 0.45, seed: int = 0):
    """Windows of voices by turns: two of one voice have about this cosine, two of different voices 0."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((max(voices) + 1, DIM))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    truth = np.repeat(voices, each)
    noise = rng.standard_normal((len(truth), DIM))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    rows = np.sqrt(cosine) * directions[truth] + np.sqrt(1 - cosine) * noise
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


def cells_of(count: int, hop_s: float = 0.75):
    starts = np.arange(count) * hop_s
    return np.stack([starts, starts + hop_s], axis=1)


@pytest.mark.parametrize("voices", [[0], [0, 1], [0, 1, 0, 1], [0, 1, 2, 0, 3, 2, 1], [0, 1, 2, 3, 4, 5] * 2])
@pytest.mark.parametrize("seed", range(3))
def test_voices_are_told_apart_and_come_back(voices, seed):
    rows, truth = speech(voices, seed=seed)
    np.testing.assert_array_equal(voices_of(rows, np.full(len(rows), 0.75), RULES), truth)


def test_voices_are_numbered_as_they_are_heard():
    rows, _ = speech([2, 0, 1])
    found = voices_of(rows, np.full(len(rows), 0.75), RULES)
    assert [int(found[place]) for place in (0, 10, 20)] == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 2])
def test_a_word_or_two_is_one_voice(count):
    rows, _ = speech([0], each=count)
    assert voices_of(rows, np.full(count, 0.5), RULES).tolist() == [0] * count


def test_an_hour_of_two_voices_is_no_more_than_two_and_a_minute_no_less():
    for each in (10, 120):
        rows, truth = speech([0, 1] * 20, each=each)
        np.testing.assert_array_equal(voices_of(rows, np.full(len(rows), 0.75), RULES), truth)


def test_voices_that_come_later_are_others():
    rows, truth = speech([0, 1, 2, 1], each=1000)
    np.testing.assert_array_equal(voices_of(rows, np.full(len(rows), 0.75), RULES), truth)


def test_no_more_voices_than_wanted():
    rows, truth = speech([0, 1, 2, 3, 0])
    seconds = np.full(len(rows), 0.75)
    for most in (1, 2, 3):
        assert voices_of(rows, seconds, RULES, most).max() + 1 == most
    np.testing.assert_array_equal(voices_of(rows, seconds, RULES, 4), truth)
    np.testing.assert_array_equal(voices_of(rows, seconds, RULES, 9), truth)


def test_a_single_window_of_another_voice_is_smoothed_away_unless_changes_are_free():
    rows, truth = speech([0, 1, 0])
    rows[5] = 0.6 * rows[5] + 0.4 * rows[15]
    rows[5] += 0.25 * rows[10:20].mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = voices_of(rows, np.full(len(rows), 0.75), TurnRules(2.76, 0.28, 1.85, change_s=2.0))
    assert found[5] == 0
    np.testing.assert_array_equal(np.delete(found, 5), np.delete(truth, 5))


def test_turns_are_the_cells_of_one_voice_joined():
    labels = np.array([0, 0, 1, 1, 0, 0])
    cells = cells_of(6)
    assert [tuple(turn) for turn in turns_of(cells, labels)] == [
        (0.0, 1.5, 0, (0, 2)),
        (1.5, 3.0, 1, (2, 4)),
        (3.0, 4.5, 0, (4, 6)),
    ]
    cells[5:] += 0.6  # the voice goes on after a pause
    assert [turn.cells for turn in turns_of(cells, labels)] == [(0, 2), (2, 4), (4, 5), (5, 6)]
    assert [turn.cells for turn in turns_of(cells, labels, longest_pause_s=1.0)] == [(0, 2), (2, 4), (4, 6)]


def test_every_cell_is_in_one_turn():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 50)
    turns = turns_of(cells_of(50), labels)
    assert [place for turn in turns for place in range(*turn.cells)] == list(range(50))
    assert all(set(labels[slice(*turn.cells)]) == {turn.voice} for turn in turns)


@pytest.mark.parametrize("windows", [5, 8, 20])
def test_one_voice_is_one_and_two_are_several(windows):
    verdicts = [several_voices(speech([0], each=windows, seed=seed)[0], RULES)[0] for seed in range(10)]
    assert not any(verdicts)
    halves = [several_voices(speech([0, 1], each=windows, seed=seed)[0], RULES) for seed in range(10)]
    assert all(several and score >= RULES.apart for several, score in halves)


def test_the_difference_of_one_voice_hardly_grows_with_its_length():
    short, long = (
        np.mean([several_voices(speech([0], each=each, seed=seed)[0], RULES)[1] for seed in range(10)])
        for each in (6, 40)
    )
    assert long < 1.1 * short
    assert short == pytest.approx(np.mean([_ward(speech([0], each=6, seed=seed)[0]) for seed in range(10)]))


def _ward(rows) -> float:
    return float(linkage(rows, method="ward")[-1, 2])


def test_voices_that_differ_little_are_not_called_several():
    """A difference alone, as a long recording has it, is not enough: the halves must be far apart too."""
    rows, _ = speech([0, 1], each=20)
    near = rows + 3 * rows.mean(axis=0)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    several, score = several_voices(near, TurnRules(2.76, 0.28, 0.1))
    assert (several, score >= 0.1) == (False, True)


def calibration(score: ScoreModel, threshold: float) -> Calibration:
    point = OperatingPoint(0.1, 0.1, threshold, (0.05, 0.2), (0.05, 0.2), "trials", 1000, 1000)
    return Calibration("0" * 64, "trials", score, 1000, 1000, 50, 0.1, 0.5, 0.4, (point,))


def test_the_rules_follow_the_scale_of_a_model():
    plain = rules_of(calibration(ScoreModel(offset=0.0, similarity=1.0), 0.31))
    steep = rules_of(calibration(ScoreModel(offset=-5.0, similarity=16.0), 16 * 0.31 - 5))
    assert plain.join == pytest.approx(0.9 * 0.31)
    assert (steep.join, steep.split, steep.apart) == pytest.approx((plain.join, plain.split, plain.apart))
    close = rules_of(calibration(ScoreModel(offset=0.0, similarity=1.0), 0.8))
    assert close.join > plain.join
    assert close.split < plain.split
    assert close.apart < plain.apart
