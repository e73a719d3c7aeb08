"""Autoencoders over frames: the bound against its formula, and the shipped recipes in miniature."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.methods.conftest import Learn
from training.methods.autoencoder import Drawn, EvidenceBound

pytestmark = pytest.mark.timeout(600)


def test_the_bound_is_half_the_error_and_the_divergence_of_each_number_heard() -> None:
    rng = np.random.default_rng(3)
    error = rng.uniform(size=2).astype(np.float32)
    mean, log_variance = rng.standard_normal((2, 2, 5, 4)).astype(np.float32)
    heard = np.zeros((2, 20, 8), np.float32)
    deviation = np.exp(log_variance / 2)
    # KL(N(m, s²) || N(0, 1)) = -log s + (s² + m²) / 2 - 1/2
    divergence = (-np.log(deviation) + (deviation**2 + mean**2) / 2 - 0.5).sum(axis=(1, 2))
    bound = np.asarray(EvidenceBound(beta=3.0)([error, mean, log_variance, heard]))
    np.testing.assert_allclose(bound, 0.5 * error + 3 * divergence / (20 * 8), rtol=1e-5)


def test_a_code_is_drawn_from_its_posterior_in_training_only() -> None:
    mean, log_variance = np.full((4, 500, 6), 2.0, np.float32), np.full((4, 500, 6), np.log(9), np.float32)
    layer = Drawn(seed=1)
    drawn = np.asarray(layer([mean, log_variance], training=True))
    assert abs(drawn.mean() - 2) < 0.15  # 12,000 draws: five standard errors of the mean are 0.14
    assert abs(drawn.std() - 3) < 0.15
    assert not np.allclose(drawn, layer([mean, log_variance], training=True))
    np.testing.assert_array_equal(layer([mean, log_variance], training=False), mean)


@pytest.mark.parametrize("recipe", ["autoencoder", "vae"])
def test_it_learns_tells_voices_apart_and_exports(learn: Learn, tmp_path: Path, recipe: str) -> None:
    learnt = learn(recipe, options={"channels": 32, "dim": 12})
    assert learnt.recipe.stage[0].options.variational == (recipe == "vae")
    assert learnt.losses[-1] < 0.9 * learnt.losses[0]
    assert learnt.eer < 45
    assert learnt.export(tmp_path / "model").dim == 24
