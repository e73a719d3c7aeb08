"""Two devices under JAX give what one gives, and TensorFlow takes the weights."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from training.devices import share_among_devices
from training.export import convert, trace
from training.methods import load_network
from training.progress import read_history
from training.signals import speech_like

# JAX starts in a process of its own and compiles, which takes a busy machine a while.
pytestmark = pytest.mark.timeout(600)

PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path

import keras

from training.augment import AugmentConfig
from training.corpus import load_corpus, read_manifest
from training.devices import share_among_devices
from training.methods.margin_softmax import Options
from training.metrics import draw_trials
from training.network import NetworkConfig
from training.recipe import Recipe, Stage
from training.train import train

miniature, out = Path(sys.argv[1]), Path(sys.argv[2])
corpus = load_corpus(read_manifest(miniature / "utterances.csv", "train"), out / "cache")
recipe = Recipe(
    stage=(Stage("margin_softmax", 2, 2, batch=4, crop_s=1.0, warm_up=1, options=Options(margin=0.4)),),
    network=NetworkConfig(channels=16, dilations=(1,), aggregate=24, bottleneck=8, dim=12),
    augment=AugmentConfig(simulated_rooms=0, telephone=0, codec=0, babble=0),
)
speakers = [corpus.speaker_ids[number] for number in corpus.speakers]
dev = (corpus, draw_trials(corpus.utterance_ids, speakers, corpus.sets, 20))
train(recipe, corpus, out / "one", development=dev)
assert share_among_devices("all") == ["cpu:0", "cpu:1"]
train(recipe, corpus, out / "two", development=dev)
branch = keras.saving.load_model(out / "two/branch.keras", compile=False)
assert len(branch.weights[0].value.sharding.device_set) == 2

# The margin acts although a step is compiled once: without learning, it alone moves the loss.
still = replace(recipe, stage=(replace(recipe.stage[0], peak_rate=0.0, last_rate=0.0, weight_decay=0.0),))
train(replace(still, network=replace(recipe.network, mask_bands=0, mask_frames=0)), corpus, out / "still")
"""


@pytest.fixture(scope="module")
def runs(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("jax")
    surroundings = os.environ | {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    command = [sys.executable, "-c", PROGRAM, str(miniature), str(out)]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def test_two_devices_learn_what_one_learns(runs: Path) -> None:
    one, two = (load_network(runs / name / "branch.keras") for name in ("one", "two"))
    for alone, shared in zip(one.weights, two.weights, strict=True):
        # A softmax does not see a bias of its scores, nor a normalisation one of what comes into it: their
        # gradient is rounding, of which Adam makes steps.
        if not alone.path.endswith(("score/bias", "pool_norm/beta")):
            np.testing.assert_allclose(np.array(shared), np.array(alone), atol=2e-4, err_msg=alone.path)
    waveform = speech_like(1.5)[None]
    assert float(np.sum(np.array(one(waveform)) * np.array(two(waveform)))) > 0.9999
    rows = [read_history(runs / name / "stage1-margin_softmax") for name in ("one", "two")]
    losses = [[float(row["loss"]) for row in history] for history in rows]
    assert np.isfinite(losses).all()
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    assert 0 <= float(rows[1][-1]["dev_eer"]) <= 100  # measured on two devices too


def test_the_margin_rises_under_jax(runs: Path) -> None:
    rows = read_history(runs / "still/stage1-margin_softmax")
    margins = [float(row["margin"]) for row in rows]
    assert margins == pytest.approx([0.05, 0.4], abs=1e-6)
    assert float(rows[1]["loss"]) > float(rows[0]["loss"]) + 3  # the scale of 30 turns 0.35 rad into this


def test_what_jax_trains_tensorflow_exports(runs: Path) -> None:
    network = load_network(runs / "two/branch.keras")
    waveform = speech_like(1.5)[None]
    session = ort.InferenceSession(convert(trace(network)).SerializeToString())
    (exported,) = session.run(None, {"waveform": waveform})
    assert float(np.sum(exported * network(waveform))) > 0.9999


def test_other_backends_say_what_they_need() -> None:
    with pytest.raises(ValueError, match="KERAS_BACKEND=jax"):
        share_among_devices("all")
