from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics import equal_error_rate, min_dcf, read_trials, threshold_at_fmr

LABELS = np.array([1] * 50 + [0] * 200)


def normal_scores(
    distance: float, seed: int = 0, targets: int = 4000, impostors: int = 16000
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(distance, 1, targets), rng.normal(0, 1, impostors)])
    return scores, np.array([1] * targets + [0] * impostors)


def test_separated_scores_have_no_error() -> None:
    scores = LABELS * 2.0 + np.linspace(0, 1, len(LABELS))
    assert equal_error_rate(scores, LABELS) == 0.0
    assert min_dcf(scores, LABELS) == 0.0


def test_scores_the_wrong_way_round_are_all_error() -> None:
    assert equal_error_rate(-LABELS.astype(float), LABELS) == pytest.approx(1.0)
    assert min_dcf(-LABELS.astype(float), LABELS) == 1.0


def test_two_normal_distributions_give_the_textbook_rate() -> None:
    from scipy.stats import norm

    scores, labels = normal_scores(2.0)
    assert equal_error_rate(scores, labels) == pytest.approx(norm.cdf(-1.0), abs=0.01)


@given(st.integers(0, 1000), st.floats(0.1, 3.0))
def test_only_the_order_of_scores_matters(seed: int, distance: float) -> None:
    scores, labels = normal_scores(distance, seed, 40, 160)
    stretched = np.exp(scores) * 3 + 1
    assert equal_error_rate(stretched, labels) == pytest.approx(equal_error_rate(scores, labels))
    assert min_dcf(stretched, labels) == pytest.approx(min_dcf(scores, labels))


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
