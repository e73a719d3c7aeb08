import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from keras.src.applications.densenet import DenseNet

from tests.training.methods.conftest import RECIPES, Learn
from training.methods.siamese import METHOD, CutWindows, MeanOfWindows, Sides, name_of, weights_on_disk
from training.recipe import read_recipe

pytestmark = pytest.mark.timeout(600)

DENSENET121 = (6, 12, 24, 16)
# Three speakers have fewer pairs of two speakers than 34 have; these numbers keep the published proportion.
SMALL = {"blocks": (1, 1, 1, 1), "speakers": 3, "similar": 20, "dissimilar": 80, "measured": 3}


def test_the_recipe_is_the_published_one() -> None:
    recipe = read_recipe(RECIPES / "siamese-spectrograms.toml")
    stage, silence = recipe.stage[0], recipe.silence
    assert (name_of(stage.options.blocks), stage.options.margin, stage.epochs) == ("DenseNet121", 3.0, 30)
    assert stage.steps * stage.batch == 34 * 100 + 34 * 33 // 2 * 25 == 17_425
    assert (stage.peak_rate, stage.warm_up, stage.decay, stage.weight_decay) == (1e-4, 100, "polynomial", 0.0)
    assert silence is not None
    assert (silence.min_silence_ms, silence.threshold_dbfs, silence.keep_ms) == (400, -30.0, 100)
    assert (recipe.front_end.rate_hz, stage.options.share, stage.options.speakers) == (22_050, 0.8, 34)


def test_pairs_are_learnt_measured_and_exported(learn: Learn, tmp_path: Path) -> None:
    learnt = learn("siamese-spectrograms", options=SMALL, steps=20)
    assert learnt.losses[-1] < learnt.losses[0]
    assert learnt.eer < 45
    report = json.loads((learnt.run / "stage1-siamese/distances.json").read_text())
    assert report["about"]["weights to begin with"] == "random"
    assert report["about"]["speakers"] == "3 training, 3 test, 2 unseen"
    assert report["about"]["pairs of an epoch"] == "160, 53.3 % of the 300 of a full epoch"
    assert len(report["epochs"]) == len(learnt.history) == 3
    for row, epoch in zip(learnt.history, report["epochs"], strict=True):
        assert all(float(row[name]) == pytest.approx(value) for name, value in epoch.items())
    last = report["epochs"][-1]
    assert last["training_dissimilar"] > last["training_similar"]
    page = (learnt.run / "stage1-siamese/distances.md").read_text()
    assert f"| unseen | {last['unseen_similar']:.2f} | {last['unseen_dissimilar']:.2f} |" in page
    assert (learnt.run / "stage1-siamese/distances.png").stat().st_size > 5000
    assert learnt.export(tmp_path / "model").dim == 68 * 2


def test_windows_go_on_with_the_beginning() -> None:
    cut = CutWindows(4)
    waveform = np.arange(6, dtype=np.float32)[None] + np.array([[0], [10]], np.float32)
    found = np.asarray(cut(waveform))
    assert found.tolist() == [[0, 1, 2, 3], [4, 5, 0, 1], [10, 11, 12, 13], [14, 15, 10, 11]]
    assert np.asarray(cut(waveform[:, :3])).tolist() == [[0, 1, 2, 0], [10, 11, 12, 10]]


def test_a_recording_is_the_mean_of_its_windows() -> None:
    vectors = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.float32)
    mean = MeanOfWindows()([vectors, np.zeros((2, 9), np.float32)])
    assert np.asarray(mean).tolist() == [[2, 3], [6, 7]]


def test_neighbouring_rows_are_a_pair() -> None:
    left, right = Sides()(np.arange(8, dtype=np.float32).reshape(4, 2))
    assert np.asarray(left).tolist() == [[0, 1], [4, 5]]
    assert np.asarray(right).tolist() == [[2, 3], [6, 7]]


def test_weights_are_looked_for_and_never_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert weights_on_disk(DENSENET121) is None
    path = tmp_path / "models/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path.parent.mkdir()
    path.touch()
    assert weights_on_disk(DENSENET121) == path
    with pytest.raises(ValueError, match="no weights"):
        weights_on_disk(DENSENET121, str(tmp_path / "missing.h5"))


def test_given_weights_are_what_it_begins_with(tmp_path: Path) -> None:
    recipe = read_recipe(RECIPES / "siamese-spectrograms.toml", ["stage.1.blocks=[1, 1, 1, 1]"])
    there = DenseNet([1, 1, 1, 1], include_top=False, weights=None, input_shape=(64, 64, 3))
    there.save_weights(tmp_path / "there.weights.h5")
    options = replace(recipe.stage[0].options, imagenet_weights=str(tmp_path / "there.weights.h5"))
    branch = METHOD.branch(recipe, options)
    assert branch.get_layer("vector").began == "there.weights.h5"
    assert len(branch.get_weights()) == len(there.get_weights()) > 0
    for mine, given in zip(branch.get_weights(), there.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, given)
