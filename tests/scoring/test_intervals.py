import numpy as np
import pytest

from app.scoring.intervals import rate_intervals, speaker_bootstrap, speaker_weights


def share_passed(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(scores[labels == 0] >= 0))


def impostors_with_voices(
    seed: int, speakers: int = 30
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every speaker against every other, some of them easily taken for anybody; and one target each."""
    rng = np.random.default_rng(seed)
    names = np.array([f"s{i}" for i in range(speakers)])
    like = rng.normal(0, 1, speakers)
    left, right = np.triu_indices(speakers, 1)
    scores = like[left] + like[right] + rng.normal(0, 1, len(left)) - 1.5
    places = np.arange(speakers)
    return (
        np.concatenate([scores, np.ones(speakers)]),
        np.concatenate([np.zeros(len(left), int), np.ones(speakers, int)]),
        names[np.concatenate([left, places])],
        names[np.concatenate([right, places])],
    )


def test_an_impostor_trial_counts_as_the_product_of_its_speakers_draws() -> None:
    _, labels, enroll, test = impostors_with_voices(0, speakers=5)
    for counts in speaker_weights(labels, enroll, test, rounds=30):
        drawn = dict(zip(enroll[labels == 1], counts[labels == 1], strict=True))
        assert sum(drawn.values()) == 5
        for trial in np.flatnonzero(labels == 0):
            assert counts[trial] == drawn[enroll[trial]] * drawn[test[trial]]


def test_draws_that_leave_no_trial_of_one_kind_are_drawn_again() -> None:
    labels, enroll, test = np.array([1, 0]), np.array(["a", "a"]), np.array(["a", "b"])
    draws = list(speaker_weights(labels, enroll, test, rounds=20))
    assert len(draws) == 20
    assert all(counts.tolist() == [1, 1] for counts in draws)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # A trial's score is the sum of two voices and noise: N(-1.5, 3).
    from scipy.stats import norm

    truth = norm.sf(1.5 / np.sqrt(3))
    intervals = [
        speaker_bootstrap(share_passed, *impostors_with_voices(seed), rounds=100) for seed in range(60)
    ]
    covered = np.mean([low <= truth <= high for low, high in intervals])
    assert covered > 0.85
    # Trials taken for independent witnesses would give a fraction of that width, and cover seldom.
    width = np.mean([high - low for low, high in intervals])
    assert width > 2 * 2 * 1.96 * np.sqrt(truth * (1 - truth) / 435)


def test_rates_of_several_sets_and_thresholds_agree_with_the_single_bootstrap() -> None:
    scores, labels, enroll, test = impostors_with_voices(3)
    thresholds = np.array([0.0, 1.0])
    fmr, fnmr = rate_intervals(
        {"one": scores >= thresholds[:, None]}, {"one": labels}, {"one": (enroll, test)}, rounds=100
    )
    low, high = speaker_bootstrap(share_passed, scores, labels, enroll, test, rounds=100)
    np.testing.assert_allclose(fmr[0], [low, high])
    assert fmr[1, 1] < fmr[0, 1]
    np.testing.assert_allclose(fnmr, 0.0, atol=1e-12)


def test_two_sets_know_more_than_one() -> None:
    sets = {f"set{i}": impostors_with_voices(i) for i in range(4)}

    def width(names: list[str]) -> float:
        fmr, _ = rate_intervals(
            {n: sets[n][0][None] >= 0 for n in names},
            {n: sets[n][1] for n in names},
            {n: (sets[n][2], sets[n][3]) for n in names},
        )
        return float(fmr[0, 1] - fmr[0, 0])

    assert width(list(sets)) < 0.75 * np.mean([width([n]) for n in sets])


def test_a_seed_gives_the_same_interval() -> None:
    trials = impostors_with_voices(5)
    assert speaker_bootstrap(share_passed, *trials, rounds=20) == speaker_bootstrap(
        share_passed, *trials, rounds=20
    )
    assert speaker_bootstrap(share_passed, *trials, rounds=20, seed=1) != pytest.approx(
        speaker_bootstrap(share_passed, *trials, rounds=20)
    )
