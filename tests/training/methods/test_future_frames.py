"""Future frames: what is predicted from what, and the shipped recipe in miniature."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.methods.conftest import Learn
from training.methods.future_frames import METHOD, Later, Options
from training.recipe import Recipe, Stage

pytestmark = pytest.mark.timeout(600)


def test_each_step_is_asked_for_the_frame_ahead_of_the_last_that_it_heard() -> None:
    frames = np.arange(20, dtype=np.float32).reshape(1, 10, 2)
    # Step 0 has heard the frames 0 and 1, step 1 the frames 2 and 3 as well; three further are 4, 6 and 8.
    assert np.asarray(Later(3)(frames))[0, :, 0].tolist() == [8, 12, 16]


def test_a_state_knows_nothing_of_what_comes_after_it() -> None:
    recipe = Recipe(stage=(Stage("future_frames", epochs=1),))
    branch = METHOD.branch(recipe, Options(units=16))
    frames, states = branch.get_layer("log_mel").output, branch.get_layer("frames").output
    hear = type(branch)(frames, states)
    one = np.random.default_rng(1).standard_normal((1, 40, 80)).astype(np.float32)
    other = one.copy()
    other[:, 20:] += 1
    before, after = np.asarray(hear(one)), np.asarray(hear(other))
    np.testing.assert_allclose(before[:, :10], after[:, :10], atol=1e-6)
    assert not np.allclose(before[:, 10], after[:, 10], atol=1e-3)


def test_it_learns_tells_voices_apart_and_exports(learn: Learn, tmp_path: Path) -> None:
    learnt = learn("future-frames", options={"units": 24})
    assert learnt.losses[-1] < 0.9 * learnt.losses[0]
    assert learnt.eer < 45
    assert learnt.export(tmp_path / "model").dim == 48
