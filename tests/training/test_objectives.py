import keras
import numpy as np
import pytest

from training.methods import contrastive, margin_softmax
from training.network import NetworkConfig, build_network
from training.objectives import (
    ContrastiveLoss,
    MarginSoftmax,
    PairDistance,
    PrototypicalLoss,
    SpeakerCosines,
    WarmUpCosine,
    WarmUpPolynomial,
)
from training.signals import speech_like

SMALL = NetworkConfig(channels=16, dilations=(1,), aggregate=24, bottleneck=8, dim=12)


def cosines(rows: int = 5, classes: int = 7) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.9, 0.9, (rows, classes)).astype(np.float32)


def test_without_a_margin_it_is_cross_entropy() -> None:
    loss, labels = MarginSoftmax(0.2, 30.0), np.array([0, 3, 6, 2, 2])
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(loss(labels, cosines())) == pytest.approx(float(plain(labels, 30 * cosines())), rel=1e-4)


def test_the_margin_is_an_angle_added_to_the_true_speaker() -> None:
    loss, labels, values = MarginSoftmax(0.3, 20.0), np.array([1, 0, 4, 6, 5]), cosines()
    loss.margin_now.assign(0.3)
    logits = 20 * values.astype(np.float64)
    rows = np.arange(5)
    logits[rows, labels] = 20 * np.cos(np.arccos(values[rows, labels]) + 0.3)
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[rows, labels])
    assert float(loss(labels, values)) == pytest.approx(expected, rel=1e-4)


def test_the_margin_makes_it_harder_even_at_the_far_end() -> None:
    loss, labels = MarginSoftmax(0.5, scale=5.0), np.array([0])
    for target in (-0.999, -0.5, 0.0, 0.9):
        values = np.array([[target, 0.1]], np.float32)
        loss.margin_now.assign(0.0)
        without = float(loss(labels, values))
        loss.margin_now.assign(0.5)
        assert float(loss(labels, values)) > without


def test_the_nearest_centre_stands_for_a_speaker() -> None:
    layer = SpeakerCosines(classes=3, centres=2)
    embedding = np.eye(4, dtype=np.float32)[:1]
    layer.build((1, 4))
    weight = np.zeros((4, 6), np.float32)
    weight[1] = 1.0
    weight[0, 3] = 1.0  # speaker 1's second centre leans towards the embedding
    layer.set_weights([weight])
    np.testing.assert_allclose(layer(embedding), [[0, np.sqrt(0.5), 0]], atol=1e-5)


def test_the_contrastive_loss_at_known_distances() -> None:
    loss = ContrastiveLoss(margin=3.0)
    same = np.array([1, 1, 0, 0, 0], np.float32)
    distance = np.array([0.0, 2.0, 1.0, 3.0, 5.0], np.float32)
    assert float(loss(same, distance)) == pytest.approx((0 + 4 + 4 + 0 + 0) / 5)


def test_distances_reach_twice_the_radius() -> None:
    one = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    other = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
    np.testing.assert_allclose(PairDistance(3.0)([one, other]), [0.0, 6.0], atol=1e-3)


def test_both_branches_are_one_network() -> None:
    branch = build_network(SMALL)
    siamese = contrastive.siamese(branch)
    assert siamese.count_params() == branch.count_params()
    ann, bob = speech_like(1.0, speaker=0)[None], speech_like(1.0, speaker=3)[None]
    there, back = siamese.predict([ann, bob], verbose=0), siamese.predict([bob, ann], verbose=0)
    np.testing.assert_allclose(there, back, atol=1e-5)
    np.testing.assert_allclose(siamese.predict([ann, ann], verbose=0), 0.0, atol=1e-2)
    assert there[0] > 0.01


def test_the_classifier_gives_one_cosine_a_speaker() -> None:
    model = margin_softmax.classifier(build_network(SMALL), classes=9)
    values = model.predict(speech_like(1.0)[None], verbose=0)
    assert values.shape == (1, 9)
    assert np.all(np.abs(values) <= 1 + 1e-5)


def test_the_rate_warms_up_and_falls() -> None:
    rate = WarmUpCosine(peak=1e-3, warm_up=10, steps=100, last=1e-5)
    values = [float(rate(step)) for step in range(101)]
    assert values[0] == pytest.approx(1e-4)
    assert max(values) == pytest.approx(1e-3)
    assert int(np.argmax(values)) in (9, 10)
    assert np.all(np.diff(values[10:]) <= 1e-12)
    assert values[100] == pytest.approx(1e-5, rel=1e-3)


def test_a_straight_fall_ends_where_it_should() -> None:
    rate = WarmUpPolynomial(peak=1e-4, warm_up=100, steps=300)
    values = [float(rate(step)) for step in (0, 99, 100, 200, 300, 400)]
    np.testing.assert_allclose(values, [1e-6, 1e-4, 1e-4, 5e-5, 0, 0], atol=1e-9)


def test_the_prototypical_loss_is_a_softmax_against_impostors_of_the_same_set() -> None:
    vectors = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    # Two crops of speaker 0, one each of 1 and 2 in the same set, and one of another set.
    who = np.array([[0, 0], [0, 0], [1, 0], [2, 0], [3, 1]])
    cosines = 10 * (vectors @ vectors.T).astype(np.float64)

    def softmax(anchor: int, other: int) -> float:
        right = np.exp(cosines[anchor, other] - 10 * 0.2)
        wrong = np.exp(cosines[anchor, 2]) + np.exp(cosines[anchor, 3])
        return float(-np.log(right / (right + wrong)))

    expected = (softmax(0, 1) + softmax(1, 0)) / 5
    assert float(PrototypicalLoss(0.2, 10.0)(who, vectors)) == pytest.approx(expected, rel=1e-4)


def test_the_prototypical_loss_leaves_alone_whoever_has_no_second_crop() -> None:
    who = np.array([[0, 0], [1, 0], [2, 1]])
    assert float(PrototypicalLoss()(who, np.eye(3, dtype=np.float32))) == 0.0
