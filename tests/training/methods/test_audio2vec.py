"""Audio2Vec: windows of any recording, and the shipped recipe in miniature."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.training.methods.conftest import Learn
from training.method import Task
from training.methods.audio2vec import METHOD, Options, WholeWindows
from training.recipe import Recipe, Stage

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(1, [0, 0, 0, 0]), (3, [0, 1, 2, 0]), (4, [0, 1, 2, 3]), (5, [0, 1, 2, 3, 4, 0, 1, 2])],
)
def test_windows_are_filled_up_from_the_beginning(frames: int, expected: list[int]) -> None:
    heard = np.arange(frames, dtype=np.float32)[None, :, None] * np.ones((2, 1, 3), np.float32)
    filled = np.asarray(WholeWindows(4)(heard))
    assert filled.shape == (2, len(expected), 3)
    assert filled[1, :, 2].tolist() == expected


@pytest.mark.parametrize("name", ["frames", "hop"])
def test_a_window_must_halve_evenly(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a multiple of 16, not 100"):
        Options(**{name: 100})


@pytest.mark.parametrize(("hop", "codes"), [(96, (1, 1, 2, 3)), (16, (1, 1, 7, 13))])
def test_each_window_has_one_code_and_all_are_decoded(hop: int, codes: tuple[int, ...]) -> None:
    stage = Stage("audio2vec", epochs=1, options=Options(hop=hop, channels=4, dim=8))
    recipe = Recipe(stage=(stage,))
    branch = METHOD.branch(recipe, stage.options)
    network = METHOD.learning(branch, Task(recipe, stage, None, None, {})).network  # type: ignore[arg-type]
    both = keras.Model(branch.input, [network.get_layer(name).output for name in ("code", "frames_guessed")])
    # 1, 96, 98 and 198 frames: one window of 96, one, two and three.
    for seconds, count, windows in zip((0.025, 0.975, 1.0, 2.0), codes, (1, 1, 2, 3), strict=True):
        code, guessed = both(np.ones((1, int(seconds * 16_000)), np.float32))
        assert code.shape == (1, count, 1, 8)
        assert guessed.shape == (1, 96 * windows, 80)


def test_it_learns_tells_voices_apart_and_exports(learn: Learn, tmp_path: Path) -> None:
    learnt = learn("audio2vec", options={"channels": 12, "dim": 24}, crop_s=0.975, epochs=6)
    assert learnt.losses[-1] < 0.9 * learnt.losses[0]
    assert learnt.eer < 48
    assert learnt.export(tmp_path / "model").dim == 24
