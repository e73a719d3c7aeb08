"""What reconstructing methods share, against NumPy."""

import numpy as np
import pytest

from training.reconstruction import ReconstructionError, Statistics


def test_pooling_is_mean_and_deviation() -> None:
    x = np.random.default_rng(1).standard_normal((3, 50, 4)).astype(np.float32)
    pooled = np.asarray(Statistics()(x))
    np.testing.assert_allclose(pooled, np.hstack([x.mean(axis=1), x.std(axis=1)]), atol=1e-4)


@pytest.mark.parametrize("power", [1, 2])
def test_the_error_counts_each_frame_heard_and_none_beyond(power: int) -> None:
    rng = np.random.default_rng(2)
    heard = rng.standard_normal((3, 7, 4)).astype(np.float32)
    guessed = rng.standard_normal((3, 9, 4)).astype(np.float32)
    error = np.asarray(ReconstructionError(power)([heard, guessed]))
    np.testing.assert_allclose(error, (np.abs(heard - guessed[:, :7]) ** power).mean(axis=(1, 2)), rtol=1e-5)
