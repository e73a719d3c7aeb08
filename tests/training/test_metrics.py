from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.scoring.rates import cllr, equal_error_rate, min_cllr
from tests.scoring.known import LABELS, calibrated, normal_scores
from training.metrics import act_dcf, draw_trials, min_dcf, read_trials, threshold_at_fmr


def test_separated_scores_have_no_error() -> None:
    scores = LABELS * 2.0 + np.linspace(0, 1, len(LABELS))
    assert equal_error_rate(scores, LABELS) == 0.0
    assert min_dcf(scores, LABELS) == 0.0


def test_scores_the_wrong_way_round_are_all_error() -> None:
    assert equal_error_rate(-LABELS.astype(float), LABELS) == pytest.approx(1.0)
    assert min_dcf(-LABELS.astype(float), LABELS) == 1.0


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 3.0))
def test_only_the_order_of_scores_matters(seed: int, distance: float) -> None:
    scores, labels = normal_scores(distance, seed, 40, 160)
    stretched = np.exp(scores) * 3 + 1
    assert equal_error_rate(stretched, labels) == pytest.approx(equal_error_rate(scores, labels))
    assert min_dcf(stretched, labels) == pytest.approx(min_dcf(scores, labels))


@settings(deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.01, 0.05, 0.2]))
def test_a_threshold_keeps_its_promise(seed: int, target: float) -> None:
    scores, labels = normal_scores(1.5, seed, 40, 300)
    threshold, fmr, fnmr = threshold_at_fmr(scores, labels, target)
    accepted = scores >= threshold
    assert accepted[labels == 0].mean() == pytest.approx(fmr)
    assert (~accepted[labels == 1]).mean() == pytest.approx(fnmr)
    assert fmr <= target


def test_trials_are_read_and_thinned(tmp_path: Path) -> None:
    path = tmp_path / "set.txt"
    path.write_text("".join(f"{i % 2} a{i} b{i}\n" for i in range(100)))
    trials = read_trials(path)
    assert trials.labels.tolist() == [i % 2 for i in range(100)]
    thin = trials.thinned(10)
    assert thin.labels.sum() == 10
    assert len(thin.labels) == 20
    assert all(a[1:] == b[1:] for a, b in zip(thin.enroll, thin.test, strict=True))


@pytest.mark.parametrize("text", ["1 a b\n1 c d\n", "1 a b\n0 a\n", "1 a b\nyes c d\n", ""])
def test_a_wrong_list_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "set.txt").write_text(text)
    with pytest.raises(ValueError, match=r"set\.txt"):
        read_trials(tmp_path / "set.txt")


def spoken(counts: dict[str, list[int]]) -> tuple[list[str], list[str], list[str]]:
    """Utterances, speakers and sets, from how much each speaker of a set said."""
    rows = [
        (f"{home}{speaker}-{take}", f"{home}{speaker}", home)
        for home, takes in counts.items()
        for speaker, several in enumerate(takes)
        for take in range(several)
    ]
    utterances, speakers, sets = zip(*rows, strict=True)
    return list(utterances), list(speakers), list(sets)


def test_trials_are_drawn_inside_a_set_and_say_who_spoke() -> None:
    lists = draw_trials(*spoken({"a": [3, 2, 1], "b": [2, 2]}), most=1000)
    assert {name: (int(t.labels.sum()), len(t.labels)) for name, t in lists.items()} == {
        "a": (4, 15),  # every pair there is
        "b": (2, 6),
    }
    for name, trials in lists.items():
        for one, other, label in zip(trials.enroll, trials.test, trials.labels, strict=True):
            assert one != other
            assert one[0] == other[0] == name
            assert (one.split("-")[0] == other.split("-")[0]) == bool(label)


def test_most_limits_each_kind_of_trial_and_the_seed_decides_which() -> None:
    who = spoken({"a": [4] * 6})
    first, again, other = (draw_trials(*who, most=10, seed=seed)["a"] for seed in (1, 1, 2))
    assert (first.labels == 1).sum() == (first.labels == 0).sum() == 10
    assert len(set(zip(first.enroll, first.test, strict=True))) == 20
    assert (first.enroll, first.test) == (again.enroll, again.test)
    assert (first.enroll, first.test) != (other.enroll, other.test)


def test_a_set_without_both_kinds_of_trial_has_no_list() -> None:
    assert list(draw_trials(*spoken({"alone": [5], "once": [1, 1, 1], "both": [2, 1]}), most=9)) == ["both"]


@pytest.mark.parametrize("distance", [1.0, 2.5, 4.0])
def test_true_likelihood_ratios_lose_nothing_to_calibration(distance: float) -> None:
    llr, labels = calibrated(distance)
    assert act_dcf(llr, labels) == pytest.approx(min_dcf(llr, labels), rel=0.03)


def test_a_shifted_score_costs_more_but_tells_as_much() -> None:
    llr, labels = calibrated(2.5)
    assert cllr(llr + 3, labels) > cllr(llr, labels) + 0.2
    assert act_dcf(llr + 3, labels) > min_dcf(llr, labels) + 0.5
    assert min_cllr(llr + 3, labels) == pytest.approx(min_cllr(llr, labels))
    assert min_cllr(np.exp(llr / 9), labels) == pytest.approx(min_cllr(llr, labels))


def test_the_actual_cost_is_counted_at_the_threshold_of_bayes() -> None:
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    threshold = np.log(99)
    llr = np.array([9, 9, threshold - 0.1, threshold + 0.1, threshold + 0.1, -9, -9, -9], float)
    assert act_dcf(llr, labels) == pytest.approx(1 / 4 + 99 * 1 / 4)
    assert act_dcf(llr, labels, p_target=0.5, c_miss=2.0) == pytest.approx(1 / 4)
