import json
from pathlib import Path
from typing import Any

import pytest

from training.gate import Tolerances, read_figures, worse


def figures(**eers: float) -> dict[str, Any]:
    sets = {name: {"eer": eer, "min_dcf": 0.5, "target_trials": 1000} for name, eer in eers.items()}
    mean = {"eer": sum(eers.values()) / len(eers), "min_dcf": 0.5}
    return {"format": 2, "trials": {"sha256": "one"}, "sets": sets, "mean": mean}


def test_a_better_model_and_the_same_model_pass() -> None:
    shipped = figures(home=0.10, phone=0.20)
    assert worse(shipped, shipped) == []
    assert worse(figures(home=0.09, phone=0.19), shipped) == []


def test_a_worse_mean_is_named_with_both_figures() -> None:
    found = worse(figures(home=0.102, phone=0.202), figures(home=0.10, phone=0.20))
    assert found == ["mean EER: 15.20 %, was 15.00 %"]
    assert worse(figures(home=0.1005, phone=0.2005), figures(home=0.10, phone=0.20)) == []


def test_one_set_that_falls_behind_fails_though_the_mean_is_better() -> None:
    assert worse(figures(home=0.05, phone=0.215), figures(home=0.10, phone=0.20)) == [
        "EER of phone: 21.50 %, was 20.00 %"
    ]


def test_a_worse_cost_fails_alone() -> None:
    candidate = figures(home=0.10)
    candidate["mean"]["min_dcf"] = 0.506
    assert worse(candidate, figures(home=0.10)) == ["mean minDCF: 0.506, was 0.500"]
    assert worse(candidate, figures(home=0.10), Tolerances(min_dcf=0.01)) == []


def test_one_target_trial_more_in_a_small_set_means_nothing() -> None:
    candidate, shipped = figures(home=0.05, tiny=0.116), figures(home=0.10, tiny=0.10)
    assert worse(candidate, shipped) == ["EER of tiny: 11.60 %, was 10.00 %"]
    candidate["sets"]["tiny"]["target_trials"] = 60
    assert worse(candidate, shipped) == []


def test_figures_of_other_trials_are_not_compared() -> None:
    other = figures(home=0.10) | {"trials": {"sha256": "two"}}
    with pytest.raises(ValueError, match="different trials"):
        worse(other, figures(home=0.10))


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"sets": {}}), json.dumps({"format": 1})])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "figures.json").write_text(text)
    with pytest.raises(ValueError, match=r"figures\.json"):
        read_figures(tmp_path / "figures.json")
