"""A whole run in mixed precision, on a stream of shards: what it leaves is float32."""

import json
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from training.augment import AugmentConfig
from training.corpus import read_manifest
from training.devices import precision
from training.export import convert, trace
from training.methods import load_network
from training.network import NetworkConfig, build_network
from training.progress import read_history
from training.recipe import Recipe, Stage
from training.shards import write_shards
from training.signals import speech_like
from training.train import train

# A run starts TensorFlow graphs, which takes a busy machine a while.
pytestmark = pytest.mark.timeout(600)

SMALL = NetworkConfig(channels=16, dilations=(1,), aggregate=24, bottleneck=8, dim=12)
FRONT_AND_BACK = {"log_mel", "pool", "pool_norm", "project", "project_norm", "embedding"}


@pytest.fixture(scope="module")
def run(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    index = write_shards(read_manifest(miniature / "utterances.csv", "train"), folder / "shards", 100_000)
    recipe = Recipe(
        stage=(Stage("margin_softmax", epochs=2, steps=2, batch=8, crop_s=1.0, warm_up=1),),
        network=SMALL,
        augment=AugmentConfig(simulated_rooms=0, telephone=0, codec=0),
        precision="mixed_bfloat16",
        aside=0.7,
        signal_every=1,
    )
    train(recipe, index, folder / "run", miniature / "noise.csv")
    return folder / "run"


def test_only_the_convolutions_are_half_sized(run: Path) -> None:
    trained = keras.saving.load_model(run / "branch.keras", compile=False)
    kinds = {layer.name: layer.compute_dtype for layer in trained.layers}
    assert {kinds[name] for name in FRONT_AND_BACK} == {"float32"}
    assert {kind for name, kind in kinds.items() if name.endswith("_conv")} == {"bfloat16"}
    assert {weight.dtype for layer in trained.layers for weight in layer.trainable_weights} == {"float32"}
    pool = trained.get_layer("pool")
    assert {part.compute_dtype for part in (pool.frame, pool.context, pool.score)} == {"float32"}


def test_a_run_on_shards_learns_and_measures_speakers_kept_aside(run: Path) -> None:
    rows = read_history(run / "stage1-margin_softmax")
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    assert all(0 <= float(row["aside_eer"]) <= 100 for row in rows)
    assert [float(row["margin"]) for row in rows] == pytest.approx([0.025, 0.2], abs=1e-6)
    assert json.loads((run / "recipe.json").read_text())["precision"] == "mixed_bfloat16"


def test_the_export_is_float32_and_gives_what_was_trained(run: Path) -> None:
    network = load_network(run / "branch.keras")
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}
    model = convert(trace(network))
    halves = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    assert not {tensor.data_type for tensor in model.graph.initializer} & halves
    assert not any(a.i in halves for n in model.graph.node if n.op_type == "Cast" for a in n.attribute)
    waveform = speech_like(1.5)[None]
    (exported,) = ort.InferenceSession(model.SerializeToString()).run(None, {"waveform": waveform})
    trained = keras.saving.load_model(run / "branch.keras", compile=False)
    assert float(np.sum(exported * network(waveform))) > 0.9999
    assert float(np.sum(exported * trained(waveform))) > 0.995


def test_the_precision_is_that_of_the_run_alone() -> None:
    with precision("mixed_float16"):
        assert build_network(SMALL).get_layer("stem_conv").compute_dtype == "float16"
    assert keras.config.dtype_policy().name == "float32"
