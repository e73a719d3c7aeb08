"""Export and quantisation of a small network of the real kind, by the real converters and ONNX Runtime."""

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from keras import layers, ops
from onnx import TensorProto, numpy_helper

from app.arrays import SAMPLE_RATE_HZ
from app.embedder import METADATA_KEY, Embedder, Manifest, read_manifest, sha256_of
from app.errors import AudioTooShort
from training import export, quantize
from training.export import LENGTHS, ExportFailed, check_graph, export_model, runner, trace
from training.frontend import WINDOW, FrontEnd
from training.network import NetworkConfig, build_network
from training.quantize import QuantizeFailed, front_end_nodes, quantize_model
from training.recordings import read_speech
from training.signals import speech_like

pytestmark = pytest.mark.timeout(400)  # TensorFlow takes its time to start on a busy machine

SMALL = NetworkConfig(channels=64, dilations=(1, 2, 3), aggregate=96, bottleneck=16, dim=32)
MANIFEST = Manifest(
    name="small",
    version="0.0.1",
    files=(),
    sample_rate_hz=SAMPLE_RATE_HZ,
    dim=0,
    window_samples=WINDOW,
    min_speech_s=0.6,
    input="waveform",
    recipe="none",
    corpus="none",
    commit="none",
    created_at="2026-01-01T00:00:00Z",
)
CLIPS = [speech_like(2.0, speaker=n) for n in range(16)]


def small_network() -> Any:
    """The real architecture, untrained, with batch statistics that make its embeddings differ."""
    keras.utils.set_random_seed(3)
    network = build_network(SMALL, FrontEnd(bands=40))
    rows = np.stack(CLIPS)
    for layer in network.layers:  # from bottom to top: each sees what the ones below really give
        if isinstance(layer, layers.BatchNormalization):
            seen = np.asarray(keras.Model(network.input, layer.input)(rows)).reshape(-1, layer.gamma.shape[0])
            layer.moving_mean.assign(seen.mean(axis=0))
            layer.moving_variance.assign(seen.var(axis=0))
    return network


@pytest.fixture(scope="module")
def network() -> Any:
    return small_network()


@pytest.fixture(scope="module")
def folder(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models") / "small"
    export_model(network, place, MANIFEST, CLIPS[:2])
    return place


@pytest.fixture(scope="module")
def run_keras(network: Any) -> Any:
    return runner(trace(network))


def damage(folder: Path, target: Path, name: str, factor: float) -> None:
    """Copy the model with the largest weight of a layer multiplied."""
    model = onnx.load(str(folder / "model.onnx"))
    named = [tensor for tensor in model.graph.initializer if name in tensor.name]
    tensor = max(named, key=lambda tensor: len(tensor.raw_data))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))
    onnx.save(model, str(target))


# ---------------------------------------------------------------- export


def test_writes_a_folder_that_the_service_takes(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["golden.npz", "manifest.json", "model.onnx"]
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]
    manifest = read_manifest(folder)
    assert (manifest.dim, manifest.window_samples) == (32, 400)
    assert [(file.file, file.serves) for file in manifest.files] == [("model.onnx", ("cpu", "cuda"))]
    assert manifest.sha256 == sha256_of(folder / "model.onnx")
    embedder = Embedder.load(folder, provider="cpu")
    assert embedder.golden_cosine > 0.9999
    embedder.close()


def test_the_graph_keeps_the_contract(folder: Path) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    assert {(opset.domain, opset.version) for opset in model.opset_import} == {("", export.OPSET)}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata == {METADATA_KEY: read_manifest(folder).metadata_text()}
    sides = [
        (item.name, [axis.dim_param or axis.dim_value for axis in item.type.tensor_type.shape.dim])
        for item in (*model.graph.input, *model.graph.output)
    ]
    assert sides == [("waveform", ["batch", "samples"]), ("embedding", ["batch", 32])]


def test_every_weight_is_stored_once(folder: Path, network: Any) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    arrays = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    large = [(array.shape, array.tobytes()) for array in arrays if array.nbytes >= 1024]
    assert len(set(large)) == len(large)
    front_end = 400 * 514 + 257 * 40
    assert sum(array.size for array in arrays) <= network.count_params() + front_end + 1000


def test_keras_and_onnx_agree_and_differ_between_voices(folder: Path, run_keras: Any) -> None:
    embedder = Embedder.load(folder, provider="cpu")
    expected = np.concatenate([run_keras(clip[None]) for clip in CLIPS])
    found = np.stack([embedder.embed(clip) for clip in CLIPS])
    embedder.close()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # The comparison means something only where another voice would have failed it.
    assert np.median((expected @ expected.T)[~np.eye(len(CLIPS), dtype=bool)]) < 0.9


@pytest.mark.parametrize("length", LENGTHS)
def test_a_row_does_not_depend_on_its_batch(folder: Path, length: int) -> None:
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    row = speech_like(length / 16000, speaker=5)
    alone = session.run(None, {"waveform": row[None]})[0][0]
    for other in (np.zeros(length, np.float32), np.ones(length, np.float32), row[::-1].copy()):
        together = session.run(None, {"waveform": np.stack([other, row, other])})[0][1]
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_one_window_is_enough_and_one_sample_less_is_not(folder: Path, run_keras: Any) -> None:
    embedder = Embedder.load(folder, provider="cpu")
    for length in (WINDOW, WINDOW + 1):
        waveform = speech_like(1.0, speaker=2)[:length]
        np.testing.assert_allclose(embedder.embed(waveform), run_keras(waveform[None])[0], atol=1e-4)
    for length in (0, 1, WINDOW - 1):
        with pytest.raises(AudioTooShort):
            embedder.embed(np.zeros(length, np.float32))
    embedder.close()


@pytest.mark.parametrize("name", ["stem_conv", "block3_a_conv", "project"])
def test_the_check_sees_a_changed_weight(folder: Path, tmp_path: Path, run_keras: Any, name: str) -> None:
    check_graph(folder / "model.onnx", run_keras)
    damage(folder, tmp_path / "model.onnx", name, -1.0)
    with pytest.raises(ExportFailed, match="differ at"):
        check_graph(tmp_path / "model.onnx", run_keras)


@keras.saving.register_keras_serializable("tests")
class Pool(layers.Layer):
    """Waveform → statistics of its windows; with a flaw when asked."""

    def __init__(self, flaw: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.flaw = flaw

    def call(self, waveform: Any) -> Any:
        frames = ops.shape(waveform)[1] // 100
        x = ops.square(ops.reshape(waveform[:, : frames * 100], (-1, frames, 100))) + 1e-6
        x = ops.log(ops.mean(ops.reshape(x, (-1, frames, 10, 10)), axis=-1))
        x = ops.mean(x, axis=1)
        if self.flaw == "batch":
            x = x - ops.mean(x, axis=0, keepdims=True)
        return x if self.flaw == "length" else x / ops.norm(x, axis=-1, keepdims=True)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], 10)


@pytest.mark.parametrize(
    ("flaw", "named"),
    [("batch", "depends on what else is in its batch|no unit length"), ("length", "no unit length")],
)
def test_a_flawed_network_leaves_nothing_behind(tmp_path: Path, flaw: str, named: str) -> None:
    waveform = keras.Input((None,), dtype="float32")
    flawed = keras.Model(waveform, Pool(flaw)(waveform))
    with pytest.raises(ExportFailed, match=named):
        export_model(flawed, tmp_path / "models" / "flawed", MANIFEST)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_sound_network_of_another_kind_passes(tmp_path: Path) -> None:
    waveform = keras.Input((None,), dtype="float32")
    manifest = export_model(keras.Model(waveform, Pool("")(waveform)), tmp_path / "other", MANIFEST)
    assert manifest.dim == 10


def test_the_command_replaces_an_older_model(network: Any, tmp_path: Path, capsys: Any) -> None:
    run, target = tmp_path / "run", tmp_path / "models" / "voice"
    run.mkdir()
    network.save(run / "branch.keras")
    target.mkdir(parents=True)
    for name in ("model.int8.onnx", "calibration.json", "MODEL_CARD.md"):
        (target / name).write_text("of the older model")
    arguments = [
        "--run",
        str(run),
        "--name",
        "voice",
        "--out",
        str(tmp_path / "models"),
        "--version",
        "2.1.0",
    ]
    assert export.main([*arguments, "--golden-audio", str(tmp_path)]) == 0
    assert "voice@" in capsys.readouterr().out
    assert not (target / "model.int8.onnx").exists()
    assert not (target / "calibration.json").exists()
    assert (target / "MODEL_CARD.md").exists()
    manifest = read_manifest(target)
    assert (manifest.name, manifest.version, manifest.recipe) == ("voice", "2.1.0", "run/recipe.json")
    Embedder.load(target, provider="cpu").close()


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        export.main(["--run", str(tmp_path), "--name", "x"])
    assert caught.value.code == 2
    assert "branch.keras does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("command", [export.main, quantize.main])
def test_help_explains_every_option(command: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        command(["--help"])
    assert caught.value.code == 0
    assert "default:" in capsys.readouterr().out


# ---------------------------------------------------------------- quantisation


@pytest.fixture(scope="module")
def quantised(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    place = Path(shutil.copytree(folder, tmp_path_factory.mktemp("int8") / "small"))
    cosines = quantize_model(place, CLIPS[::2], CLIPS[1::2])
    return place, cosines


def test_int8_stays_near_float32(quantised: tuple[Path, list[float]], folder: Path) -> None:
    place, cosines = quantised
    assert len(cosines) == 8
    assert np.mean(cosines) >= 0.99
    manifest = read_manifest(place)
    file = manifest.file_of("int8")
    assert file is not None
    assert (file.file, file.sha256) == ("model.int8.onnx", sha256_of(place / "model.int8.onnx"))
    assert file.serves == ("cpu:avx512_vnni", "cpu:avx_vnni")
    assert manifest.file_of("fp32") == read_manifest(folder).file_of("fp32")
    assert manifest.model_id == read_manifest(folder).model_id
    small = Embedder.load(place, provider="cpu", precision="int8")
    assert small.golden_cosine >= 0.99
    exact = Embedder.load(place, provider="cpu")
    found = float(small.embed(CLIPS[1]) @ exact.embed(CLIPS[1]))
    assert found == pytest.approx(cosines[0], abs=1e-5)
    assert found < 0.9999999  # it is another file, with eight bits
    for embedder in (small, exact):
        embedder.close()
    assert sorted(path.name for path in place.iterdir()) == [
        "golden.npz",
        "manifest.json",
        "model.int8.onnx",
        "model.onnx",
    ]


def test_only_the_network_is_quantised_and_rightly(quantised: tuple[Path, list[float]]) -> None:
    graph = onnx.load(str(quantised[0] / "model.int8.onnx")).graph
    makers = {output: node for node in graph.node for output in node.output}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    front_end = set(front_end_nodes(graph))
    exact = [node.name for node in graph.node if node.op_type in ("Conv", "MatMul")]
    exact = [name for name in exact if name not in front_end]
    exact = [exact[0], exact[-1]]
    assert "stem_conv" in exact[0]
    assert "project" in exact[1]
    kinds: dict[bool, set[str]] = {True: set(), False: set()}
    for node in graph.node:
        kinds[node.name in front_end].add(node.op_type)
        if node.name in exact:
            assert stored[node.input[1]].data_type == TensorProto.FLOAT, node.name
        elif node.op_type in ("Conv", "MatMul") and node.name not in front_end:
            weights = makers[node.input[1]]
            assert weights.op_type == "DequantizeLinear", node.name
            assert stored[weights.input[0]].data_type == TensorProto.INT8
            assert stored[weights.input[1]].dims, f"{node.name} has one scale for all channels"
        if node.op_type == "QuantizeLinear":
            assert stored[node.input[2]].data_type == TensorProto.UINT8
    assert not {"QuantizeLinear", "DequantizeLinear"} & kinds[True]
    assert {"Conv", "MatMul", "Log"} <= kinds[True]
    assert {"Conv", "MatMul", "QuantizeLinear"} <= kinds[False]


def test_bad_ranges_change_nothing(folder: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "small"))
    golden = dict(np.load(place / "golden.npz"))  # one easy golden vector, so that the clips decide
    session = Embedder.load(place, provider="cpu")
    silence = np.zeros(16000, np.float32)
    golden = {
        "waveform": silence,
        "length": np.array([16000], np.int64),
        "embedding": session.embed(silence)[None],
    }
    session.close()
    np.savez(place / "golden.npz", **golden)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    with pytest.raises(QuantizeFailed, match="mean cosine"):
        quantize_model(place, [silence], CLIPS)  # ranges of silence do not hold speech
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_a_graph_without_a_logarithm_has_no_front_end() -> None:
    with pytest.raises(QuantizeFailed, match="no logarithm"):
        front_end_nodes(onnx.GraphProto())


def test_the_quantise_command(folder: Path, tmp_path: Path, capsys: Any) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "small"))
    assert quantize.main(["--model", str(place), "--clips", "8"]) == 0
    said = capsys.readouterr()
    assert "mean 0.99" in said.out
    assert "synthetic" in said.err
    assert [file.precision for file in read_manifest(place).files] == ["fp32", "int8"]


def test_an_empty_folder_of_recordings_is_an_error(folder: Path, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        quantize.main(["--model", str(folder), "--calibration-audio", str(tmp_path)])
    assert "fewer than 4" in capsys.readouterr().err


def test_reads_speech_from_a_folder(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        soundfile.write(tmp_path / str(number) / "clip.wav", speech_like(3.0, speaker=number), SAMPLE_RATE_HZ)
    (tmp_path / "2" / "broken.wav").write_bytes(b"RIFF")
    clips = read_speech(tmp_path, 6, longest_s=1.0)
    assert [clip.shape for clip in clips] == [(16000,)] * 5
    assert len(read_speech(tmp_path, 2)) == 2
    assert read_speech(tmp_path / "nowhere", 3) == []
