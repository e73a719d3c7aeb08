from pathlib import Path

import numpy as np
import pytest

from app.scoring import ScoreModel
from training.figures import group_row, mean_row, set_row
from training.groups import groups, read_columns
from training.scored import Measured


def measured(targets: int, impostors: int, shift: float = 0.0, seed: int = 0) -> Measured:
    """Trials of ten speakers with scores of two normal distributions, two apart."""
    rng = np.random.default_rng(seed)
    labels = np.array([1] * targets + [0] * impostors)
    count = len(labels)
    enroll = rng.integers(10, size=count)
    test = np.where(labels == 1, enroll, (enroll + rng.integers(1, 10, size=count)) % 10)
    scores = 0.1 * (rng.standard_normal(count) + 2 * labels) + shift
    return Measured(
        enroll=np.array([f"{s}-{i}" for i, s in enumerate(enroll)]),
        test=np.array([f"{s}-t{i}" for i, s in enumerate(test)]),
        enroll_speakers=enroll.astype(str),
        test_speakers=test.astype(str),
        enroll_speech_s=np.full(count, 2.0),
        speech_s=np.full(count, 2.0),
        scores=scores,
        baseline=rng.standard_normal(count),
        enrolled=np.where(np.arange(count) % 4 == 0, np.nan, scores),
        enrolled_best=scores,
        enrolled_speech_s=np.full(count, 4.0),
        labels=labels,
    )


def test_a_row_has_the_rates_their_intervals_and_the_counts() -> None:
    row = set_row(measured(400, 4000), None, 50)
    assert (row["target_trials"], row["impostor_trials"], row["speakers"]) == (400, 4000, 10)
    assert row["eer"] == pytest.approx(0.159, abs=0.03)  # half the distance is one deviation
    assert row["eer_interval"][0] < row["eer"] < row["eer_interval"][1]
    assert row["min_dcf_interval"][0] < row["min_dcf"] < row["min_dcf_interval"][1]
    assert row["baseline"]["eer"] == pytest.approx(0.5, abs=0.05)
    assert row["enrolled"]["impostor_trials"] == 3000
    assert "cllr" not in row["enrolled"]


@pytest.mark.parametrize(
    ("impostors", "at_1", "at_0_1"), [(299, False, False), (300, True, False), (3000, True, True)]
)
def test_a_rate_is_told_from_three_times_its_inverse_on(impostors: int, at_1: bool, at_0_1: bool) -> None:
    row = set_row(measured(100, impostors), None, 0)
    assert (row["fnmr_at_fmr_1"] is not None) == at_1
    assert (row["fnmr_at_fmr_0_1"] is not None) == at_0_1


def test_the_score_is_judged_by_the_models_own_calibration() -> None:
    m = measured(2000, 8000)
    # Two normal distributions of deviation 0.1 at 0 and 0.2: the log-likelihood ratio is 20 s - 2.
    good = set_row(m, ScoreModel(offset=-2.0, similarity=20.0), 0)["enrolled"]
    bad = set_row(m, ScoreModel(offset=4.0, similarity=20.0), 0)["enrolled"]
    assert good["cllr"] == pytest.approx(good["min_cllr"], abs=0.02)
    assert bad["cllr"] > 1.3 * good["cllr"]
    assert bad["min_cllr"] == pytest.approx(good["min_cllr"])
    assert bad["act_dcf"] > good["act_dcf"]
    assert good["score_eer"] == good["eer"]


def test_every_set_counts_alike_in_the_mean_and_an_unsupported_rate_not_at_all() -> None:
    large, small = set_row(measured(400, 4000), None, 40), set_row(measured(50, 100, seed=1), None, 40)
    mean = mean_row([large, small])
    assert mean["eer"] == pytest.approx((large["eer"] + small["eer"]) / 2)
    assert mean["fnmr_at_fmr_1"] == large["fnmr_at_fmr_1"]
    assert (mean["sets"], mean["target_trials"]) == (2, 450)
    low, high = mean["eer_interval"]
    assert high - low < np.diff(small["eer_interval"])[0]
    assert mean["enrolled"]["eer"] == pytest.approx((large["enrolled"]["eer"] + small["enrolled"]["eer"]) / 2)


def test_a_mean_of_sets_without_enrolments_has_none() -> None:
    row = set_row(measured(50, 100), None, 0) | {"enrolled": None}
    assert mean_row([row, row])["enrolled"] is None


def test_a_group_counts_only_the_sets_with_trials_enough() -> None:
    sets = {"enough": measured(20, 50), "few": measured(19, 50)}
    row = group_row("some", sets, sets, None, 20)
    assert row is not None
    assert row["set_names"] == ["enough"]
    assert row["reference"]["eer"] == row["eer"]
    assert group_row("none", {"few": sets["few"]}, sets, None, 20) is None


def test_trials_are_grouped_by_what_both_recordings_are() -> None:
    m = measured(40, 60)
    columns = {name: {"gender": "m" if int(name[0]) < 5 else "f"} for name in (*m.enroll, *m.test)}
    found = groups({"home": m}, columns)
    assert list(found) == ["gender"]
    assert list(found["gender"]) == ["men", "women"]
    men = found["gender"]["men"]["home"]
    assert all(int(name[0]) < 5 for name in (*men.enroll, *men.test))
    both = sum(len(by_set["home"].labels) for by_set in found["gender"].values())
    assert both == sum(columns[a] == columns[b] for a, b in zip(m.enroll, m.test, strict=True))


def test_target_trials_across_sessions_are_taken_apart_and_impostors_stay() -> None:
    m = measured(40, 60)
    columns = {name: {"session": str(i % 3 % 2)} for i, name in enumerate((*m.enroll, *m.test))}
    found = groups({"home": m}, columns)["session"]
    same, other = found["the same session"]["home"], found["another session"]["home"]
    assert (same.labels == 0).sum() == (other.labels == 0).sum() == 60
    assert same.labels.sum() + other.labels.sum() == 40


def test_a_manifest_without_columns_and_a_folder_have_no_groups(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("utterance_id,speaker_id,path\nu,s,u.wav\n")
    m = {"home": measured(40, 60)}
    assert groups(m, read_columns(tmp_path / "m.csv")) == groups(m, read_columns(tmp_path)) == {}
