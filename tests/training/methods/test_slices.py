"""Masked slices: which states stand beside which slice, and the shipped recipe in miniature."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.training.methods.conftest import Learn
from training.methods.slices import METHOD, BothSides, Options, Slices
from training.recipe import Recipe, Stage

pytestmark = pytest.mark.timeout(600)


def test_a_slice_lies_between_the_two_states_that_give_it_back() -> None:
    frames = np.repeat(np.arange(12, dtype=np.float32), 2).reshape(1, 12, 2)  # 6 steps of 2 frames, 2 bands
    steps = np.arange(6, dtype=np.float32).reshape(1, 6, 1)
    sides = np.asarray(BothSides(2)([steps, 10 * steps]))
    slices = np.asarray(Slices(2)(frames))
    assert sides[0].tolist() == [[0, 30], [1, 40], [2, 50]]  # steps t and t + 3
    assert slices[0].tolist() == [[2, 2, 4, 4], [4, 4, 6, 6], [6, 6, 8, 8]]  # frames of the steps between


def test_neither_side_has_heard_the_slice() -> None:
    branch = METHOD.branch(Recipe(stage=(Stage("slices", epochs=1),)), Options(units=8))
    states = [branch.get_layer(name).output for name in ("forward", "backward")]
    beside = keras.Model(branch.get_layer("log_mel").output, BothSides(4)(states))
    one = np.random.default_rng(1).standard_normal((1, 40, 80)).astype(np.float32)
    other = one.copy()
    other[:, 12:20] += 1  # the steps 6 to 9, which are the slice number 5
    before, after = np.asarray(beside(one)), np.asarray(beside(other))
    np.testing.assert_allclose(before[:, 5], after[:, 5], atol=1e-6)
    assert not np.allclose(before[:, 4], after[:, 4], atol=1e-3)
    assert not np.allclose(before[:, 6], after[:, 6], atol=1e-3)


def test_it_learns_tells_voices_apart_and_exports(learn: Learn, tmp_path: Path) -> None:
    learnt = learn("slices", options={"units": 24, "hidden": 64}, peak_rate=1e-2)
    assert learnt.losses[-1] < 0.9 * learnt.losses[0]
    assert learnt.eer < 45
    assert learnt.export(tmp_path / "model").dim == 96
