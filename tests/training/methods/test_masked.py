from pathlib import Path

import keras
import numpy as np
import pytest

from tests.training.methods.conftest import Learn
from training.method import branch_of
from training.methods import load_network
from training.signals import speech_like

pytestmark = pytest.mark.timeout(600)


def test_the_clusters_of_hidden_frames_are_told(learn: Learn, tmp_path: Path) -> None:
    learnt = learn("masked", options={"clusters": 8, "cluster_crops": 32})
    assert learnt.losses[-1] < learnt.losses[0]
    assert learnt.losses[-1] < np.log(8)
    assert learnt.eer < 50
    assert learnt.export(tmp_path / "model").dim == 2 * 48

    training = keras.saving.load_model(learnt.run / "stage1-masked/training.keras")
    centroids = training.get_layer("nearest").get_weights()[0]
    assert centroids.shape == (8, 80)
    assert len(np.unique(centroids, axis=0)) == 8
    waveform = speech_like(0.8)[None]
    np.testing.assert_allclose(
        branch_of(training)(waveform), load_network(learnt.run / "branch.keras")(waveform), atol=1e-5
    )
