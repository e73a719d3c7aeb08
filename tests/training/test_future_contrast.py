import keras
import numpy as np
import pytest

from training.future_contrast import FutureContrast, causal


def latents(rows: int, steps: int, dim: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, steps, dim)).astype(np.float32)


def test_the_loss_is_the_published_formula() -> None:
    contexts, futures, ahead = latents(3, 6, 4, 1), latents(3, 6, 5, 2), 2
    layer = FutureContrast(ahead)
    found = np.asarray(layer([contexts, futures]))
    maps = [np.asarray(weight, np.float64) for weight in layer.get_weights()]
    assert [m.shape for m in maps] == [(4, 5)] * ahead
    expected = []
    for crop in range(3):
        costs = []
        for step in range(1, ahead + 1):
            for t in range(6 - step):
                guessed = contexts[crop, t] @ maps[step - 1]
                candidates = [futures[crop, s] for s in range(6)]
                candidates += [futures[other, t + step] for other in range(3) if other != crop]
                weights = np.exp([guessed @ candidate for candidate in candidates])
                costs.append(-np.log(weights[t + step] / weights.sum()))
        expected.append(np.mean(costs))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_what_is_foreseen_costs_next_to_nothing() -> None:
    futures = 30 * np.eye(12, dtype=np.float32).reshape(2, 6, 12)
    contexts = np.roll(futures, -1, axis=1)
    layer = FutureContrast(1)
    layer.build([contexts.shape, futures.shape])
    layer.set_weights([np.eye(12, dtype=np.float32)])
    np.testing.assert_allclose(layer([contexts, futures]), 0, atol=1e-4)
    assert np.all(np.asarray(layer([contexts[:, ::-1], futures])) > 10)


@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (2, 1), (1, 3)])
def test_a_causal_layer_hears_nothing_later(strides: int, dilation: int) -> None:
    frames = keras.Input((None, 3))
    network = keras.Model(frames, causal(frames, 4, 3, "one", strides, dilation))
    heard = latents(1, 12, 3, 3)
    changed = heard.copy()
    changed[:, 7:] += 1.0
    before, after = network.predict(heard, verbose=0), network.predict(changed, verbose=0)
    steps = -(-7 // strides)
    assert before.shape[1] == -(-12 // strides)
    np.testing.assert_allclose(before[:, :steps], after[:, :steps], atol=1e-6)
    assert not np.allclose(before[:, steps:], after[:, steps:], atol=1e-3)
