"""The embedder on the tiny model: what it refuses to load, what it computes, whom it turns away."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.embedder import Embedder, Manifest, ModelFile, loading, read_manifest, sha256_of
from app.embedder.session import CUDA
from app.errors import (
    AudioTooShort,
    InferenceTimeout,
    InvalidSamples,
    ModelInvalid,
    ModelNotReady,
    Overloaded,
    ProviderUnavailable,
)
from tests import tiny
from training.signals import speech_like


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that the test may break."""
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))


@pytest.fixture(scope="module")
def embedder(pristine: Path) -> Iterator[Embedder]:
    loaded = Embedder.load(pristine, provider="cpu")
    yield loaded
    loaded.close()


def refusal(folder: Path, **options: Any) -> str:
    """The words with which the folder is refused."""
    with pytest.raises(ModelInvalid) as caught:
        Embedder.load(folder, provider="cpu", **options).close()
    assert str(folder) in str(caught.value)
    return caught.value.problem


def edit_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    found = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}))


def edit_file(folder: Path, of: str, **changes: Any) -> None:
    """Change what the manifest says of one file."""
    entries = json.loads((folder / "manifest.json").read_text())["files"]
    for entry in entries:
        if entry["precision"] == of:
            entry.update(changes)
    edit_manifest(folder, files=[{k: v for k, v in entry.items() if v is not ...} for entry in entries])


def edit_graph(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change the graph and make hash and metadata right again, so that only the change is wrong."""
    model = onnx.load(str(folder / "model.onnx"))
    change(model)
    tiny.save_model(folder, model, read_manifest(folder))


# ---------------------------------------------------------------- what it computes


def test_says_what_it_loaded(embedder: Embedder, pristine: Path) -> None:
    assert embedder.provider == "CPUExecutionProvider"
    assert embedder.golden_cosine > 0.99999
    assert embedder.manifest == read_manifest(pristine)
    assert embedder.manifest.model_id == f"tiny@{sha256_of(pristine / 'model.onnx')[:12]}"


@pytest.mark.parametrize("samples", [400, 401, 559, 560, 561, 15999, 16001, 160_000])
def test_agrees_with_the_same_arithmetic_in_numpy(embedder: Embedder, samples: int) -> None:
    waveform = speech_like(10, speaker=3)[:samples]
    embedding = embedder.embed(waveform)
    assert embedding.dtype == np.float32
    assert embedding.shape == (embedder.manifest.dim,)
    np.testing.assert_allclose(embedding, tiny.embed_in_numpy(waveform, tiny.weights(0)), atol=2e-4)


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_refuses_less_than_one_window(embedder: Embedder, samples: int) -> None:
    with pytest.raises(AudioTooShort) as caught:
        embedder.embed(np.zeros(samples, np.float32))
    assert caught.value.facts == {"measured_s": samples / 16000, "required_s": 0.025}


@pytest.mark.parametrize("samples", [400, 401, 48_000])
def test_gives_silence_a_unit_vector(embedder: Embedder, samples: int) -> None:
    embedding = embedder.embed(np.zeros(samples, np.float32))
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_counts_samples_that_are_no_sound(embedder: Embedder, bad: float) -> None:
    waveform = speech_like(1.0)
    waveform[[5, 100, 7000]] = bad
    with pytest.raises(InvalidSamples) as caught:
        embedder.embed(waveform)
    assert caught.value.count == 3


@pytest.mark.parametrize(
    "waveform", [np.zeros((1, 16000), np.float32), np.zeros(16000), np.zeros(16000, np.int16)]
)
def test_takes_nothing_but_a_waveform(embedder: Embedder, waveform: Any) -> None:
    with pytest.raises(ValueError, match="not float32"):
        embedder.embed(waveform)


def test_takes_a_waveform_that_is_a_view(embedder: Embedder) -> None:
    waveform = speech_like(2.0)
    np.testing.assert_array_equal(embedder.embed(waveform[::2]), embedder.embed(waveform[::2].copy()))


def test_tells_synthetic_voices_apart(embedder: Embedder) -> None:
    voices = np.array(
        [[embedder.embed(speech_like(2, speaker=s, take=t)) for t in range(2)] for s in range(8)]
    )
    similarity = voices[:, 0] @ voices[:, 1].T
    assert np.median(np.diag(similarity)) > 0.8
    assert np.median(similarity[~np.eye(8, dtype=bool)]) < 0.4


def test_another_seed_is_another_model(tmp_path: Path, embedder: Embedder) -> None:
    other = Embedder.load(tiny.write_tiny_model(tmp_path / "other", name="other", seed=1), provider="cpu")
    waveform = speech_like(2.0)
    assert abs(float(other.embed(waveform) @ embedder.embed(waveform))) < 0.9
    assert other.manifest.model_id != embedder.manifest.model_id
    other.close()


# ---------------------------------------------------------------- what it refuses to load


def test_refuses_a_missing_folder(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["manifest.json", "golden.npz", "model.onnx"])
def test_refuses_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{name} is missing" in refusal(folder)


@pytest.mark.parametrize("name", sorted(set(Manifest.__dataclass_fields__) - {"calibration_sha256"}))
def test_refuses_a_manifest_without_a_key(folder: Path, name: str) -> None:
    edit_manifest(folder, **{name: ...})
    assert refusal(folder) == f"manifest.json lacks {name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ""),
        ("version", 1),
        ("dim", "32"),
        ("dim", True),
        ("dim", 0),
        ("window_samples", 400.0),
        ("min_speech_s", 0),
        ("min_speech_s", float("nan")),
        ("min_speech_s", "0.5"),
        ("sample_rate_hz", 8000),
        ("input", "fbank80"),
        ("files", None),
        ("files", {}),
        ("files", []),
        ("files", ["model.onnx"]),
    ],
)
def test_refuses_a_manifest_with_a_wrong_value(folder: Path, name: str, value: object) -> None:
    edit_manifest(folder, **{name: value})
    assert name in refusal(folder)


@pytest.mark.parametrize("name", list(ModelFile.__dataclass_fields__))
def test_refuses_a_file_without_a_key(folder: Path, name: str) -> None:
    edit_file(folder, "fp32", **{name: ...})
    assert refusal(folder).endswith(f": it lacks {name}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("file", "../tiny/model.onnx"),
        ("file", "model.bin"),
        ("file", ""),
        ("file", None),
        ("precision", "int4"),
        ("precision", []),
        ("sha256", None),
        ("sha256", "f" * 63),
        ("serves", "cpu"),
        ("serves", ["gpu"]),
        ("serves", ["cpu:AVX 512"]),
        ("serves", [1]),
        ("suits", None),
    ],
)
def test_refuses_a_file_with_a_wrong_value(folder: Path, name: str, value: object) -> None:
    edit_file(folder, "fp32", **{name: value})
    assert f"{name} " in refusal(folder)


def test_refuses_a_list_of_files_without_float32_or_with_two_of_a_kind(folder: Path) -> None:
    (entry,) = json.loads((folder / "manifest.json").read_text())["files"]
    for entries in ([entry, entry], [{**entry, "precision": "int8"}]):
        edit_manifest(folder, files=entries)
        assert "one file with precision 'fp32'" in refusal(folder)


def test_takes_a_file_by_the_name_in_the_manifest(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "voice-2.onnx")
    edit_file(folder, "fp32", file="voice-2.onnx")
    Embedder.load(folder, provider="cpu").close()


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_refuses_a_manifest_that_is_none(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    assert "manifest.json" in refusal(folder)


def test_leaves_unknown_keys_of_a_manifest_aside(folder: Path) -> None:
    edit_manifest(folder, extra="from a later version")
    Embedder.load(folder, provider="cpu").close()


def test_refuses_one_changed_byte(folder: Path) -> None:
    path = folder / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "SHA-256" in refusal(folder)


@pytest.mark.parametrize("data", [b"", b"no protobuf at all", b"\x00" * 64])
def test_refuses_bytes_that_are_no_model(folder: Path, data: bytes) -> None:
    (folder / "model.onnx").write_bytes(data)
    edit_file(folder, "fp32", sha256=sha256_of(folder / "model.onnx"))
    refusal(folder)


def test_refuses_metadata_that_differ_from_the_manifest(folder: Path) -> None:
    edit_manifest(folder, corpus="another corpus")
    assert "metadata" in refusal(folder)


def test_refuses_a_model_without_metadata(folder: Path) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    del model.metadata_props[:]
    onnx.save(model, str(folder / "model.onnx"))
    edit_file(folder, "fp32", sha256=sha256_of(folder / "model.onnx"))
    assert "metadata" in refusal(folder)


def test_refuses_weights_in_another_file(folder: Path) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    onnx.save(
        model,
        str(folder / "model.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=64,
    )
    assert (folder / "weights.bin").stat().st_size > 1000
    edit_file(folder, "fp32", sha256=sha256_of(folder / "model.onnx"))
    assert "another file" in refusal(folder)


def test_refuses_weights_in_another_file_inside_a_branch(folder: Path) -> None:
    def hide(model: onnx.ModelProto) -> None:
        tensor = numpy_helper.from_array(np.ones(1, np.float32), "hidden")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/hostname")
        tensor.ClearField("raw_data")
        constant = helper.make_node("Constant", [], ["never"], value=tensor)
        same = helper.make_node("Identity", ["floor"], ["ever"])
        shape = helper.make_tensor_value_info("never", TensorProto.FLOAT, None)
        other = helper.make_tensor_value_info("ever", TensorProto.FLOAT, None)
        model.graph.initializer.append(numpy_helper.from_array(np.array(False), "no"))
        model.graph.node.append(
            helper.make_node(
                "If",
                ["no"],
                ["unused"],
                then_branch=helper.make_graph([constant], "then", [], [shape]),
                else_branch=helper.make_graph([same], "else", [], [other]),
            )
        )

    edit_graph(folder, hide)
    assert "another file" in refusal(folder)


@pytest.mark.parametrize("domain", ["com.example", "com.microsoft", "ai.onnx.ml"])
def test_refuses_operators_of_another_domain(folder: Path, domain: str) -> None:
    def add(model: onnx.ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid(domain, 1))
        model.graph.node.append(helper.make_node("Gelu", ["projected"], ["unused"], domain=domain))

    edit_graph(folder, add)
    assert domain in refusal(folder)


def test_refuses_a_graph_that_cannot_be_built(folder: Path) -> None:
    def break_it(model: onnx.ModelProto) -> None:
        model.graph.node[-1].op_type = "NoSuchOperator"

    edit_graph(folder, break_it)
    assert "cannot be loaded" in refusal(folder)


def test_refuses_local_functions(folder: Path) -> None:
    def add(model: onnx.ModelProto) -> None:
        body = [helper.make_node("Identity", ["x"], ["y"])]
        opset = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function("", "Mine", ["x"], ["y"], body, opset))

    edit_graph(folder, add)
    assert "local functions" in refusal(folder)


def rename_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "audio"


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "vector"


def second_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("projected", TensorProto.FLOAT, ["batch", 32]))


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("secret", TensorProto.FLOAT, [1]))


def fixed_length(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 16000


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def doubles(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    model.graph.node[0].input[0] = "single"
    model.graph.node.insert(0, helper.make_node("Cast", ["waveform"], ["single"], to=TensorProto.FLOAT))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (rename_input, "'waveform'"),
        (rename_output, "'embedding'"),
        (second_output, "'embedding'"),
        (second_input, "'waveform'"),
        (fixed_length, "(batch, samples)"),
        (fixed_batch, "(batch, samples)"),
        (doubles, "tensor(double)"),
    ],
)
def test_refuses_another_signature(
    folder: Path, change: Callable[[onnx.ModelProto], None], named: str
) -> None:
    edit_graph(folder, change)
    assert named in refusal(folder)


def test_refuses_another_dim(folder: Path) -> None:
    manifest = replace(read_manifest(folder), dim=31)
    tiny.save_model(folder, onnx.load(str(folder / "model.onnx")), manifest)
    golden = dict(np.load(folder / "golden.npz"))
    np.savez(folder / "golden.npz", **{**golden, "embedding": golden["embedding"][:, :31]})
    assert "(batch, 31)" in refusal(folder)


def test_refuses_weights_that_drifted(folder: Path) -> None:
    def drift(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == "projection":
                values = numpy_helper.to_array(tensor)
                noise = np.random.default_rng(0).normal(size=values.shape).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(values + 0.02 * noise * values.std(), tensor.name))

    edit_graph(folder, drift)
    assert "golden vectors come out at cosine 0.9" in refusal(folder)


def test_refuses_a_graph_whose_vectors_have_no_unit_length(folder: Path) -> None:
    def no_unit(model: onnx.ModelProto) -> None:
        model.graph.node[-1].CopyFrom(helper.make_node("Identity", ["projected"], ["embedding"]))

    edit_graph(folder, no_unit)
    assert "no unit length" in refusal(folder)


@pytest.mark.parametrize("key", ["waveform", "length", "embedding"])
def test_refuses_golden_vectors_without_a_part(folder: Path, key: str) -> None:
    golden = dict(np.load(folder / "golden.npz"))
    del golden[key]
    np.savez(folder / "golden.npz", **golden)
    assert refusal(folder) == f"golden.npz lacks {key}"


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding": np.zeros((3, 32))},
        {"embedding": np.zeros((2, 32), np.float32)},
        {"embedding": np.zeros((3, 31), np.float32)},
        {"length": np.array([400, 400, 400])},
        {"length": np.array([400, -400, 28805])},
        {"length": np.array([], np.int64), "embedding": np.zeros((0, 32), np.float32)},
        {"waveform": np.zeros((1, 5), np.float32)},
    ],
)
def test_refuses_golden_vectors_that_do_not_fit(folder: Path, changes: dict[str, Any]) -> None:
    np.savez(folder / "golden.npz", **{**np.load(folder / "golden.npz"), **changes})
    assert "golden.npz does not hold" in refusal(folder)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_refuses_golden_vectors_that_no_model_can_meet(folder: Path, value: float) -> None:
    golden = dict(np.load(folder / "golden.npz"))
    golden["embedding"][1] = value
    np.savez(folder / "golden.npz", **golden)
    assert "golden vectors come out at cosine -1" in refusal(folder)


class Harm:
    """Leaves a trace when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_never_unpickles_golden_vectors(folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    harm = np.empty(1, object)
    harm[0] = Harm(trace)
    np.savez(folder / "golden.npz", **{**np.load(folder / "golden.npz"), "waveform": harm})
    assert "cannot be read" in refusal(folder)
    assert not trace.exists()


def test_refuses_a_golden_file_that_is_none(folder: Path) -> None:
    np.save(folder / "single.npy", np.zeros(3))
    damaged = bytearray((folder / "golden.npz").read_bytes())
    damaged[200:400] = bytes(200)
    for data in (b"PK\x03\x04 broken", b"text", damaged, (folder / "single.npy").read_bytes()):
        (folder / "golden.npz").write_bytes(data)
        assert "golden.npz cannot be read" in refusal(folder)
    (folder / "golden.npz").write_bytes(b"")
    assert "golden.npz is empty" in refusal(folder)


def test_refuses_int8_where_there_is_none(folder: Path) -> None:
    assert "no int8 file" in refusal(folder, precision="int8")


def test_int8_is_hashed_and_found_by_its_own_name(folder: Path) -> None:
    right = tiny.add_int8(folder)
    edit_file(folder, "int8", sha256="0" * 64)
    assert "model.int8.onnx has SHA-256" in refusal(folder, precision="int8")
    (folder / "model.int8.onnx").rename(folder / "elsewhere.onnx")
    assert "model.int8.onnx is missing" in refusal(folder, precision="int8")
    edit_file(folder, "int8", file="elsewhere.onnx", sha256=right.sha256)
    Embedder.load(folder, provider="cpu", precision="int8").close()


def test_int8_is_judged_where_there_is_speech_enough(folder: Path) -> None:
    tiny.add_int8(folder)
    golden = dict(np.load(folder / "golden.npz"))
    golden["embedding"][0] = golden["embedding"][0][::-1]  # of one window
    np.savez(folder / "golden.npz", **golden)
    assert "golden vectors" in refusal(folder)
    Embedder.load(folder, provider="cpu", precision="int8").close()
    golden["embedding"][2] = golden["embedding"][2][::-1]  # of more than a second
    np.savez(folder / "golden.npz", **golden)
    assert "at least 0.99" in refusal(folder, precision="int8")


# ---------------------------------------------------------------- where it runs


def test_cuda_is_never_replaced_in_silence(pristine: Path) -> None:
    automatic = Embedder.load(pristine, provider="auto")
    automatic.close()
    if automatic.provider == CUDA:
        pytest.skip("this machine has a working CUDA device")
    with pytest.raises(ProviderUnavailable) as caught:
        Embedder.load(pristine, provider="cuda")
    assert caught.value.facts == {"requested": "CUDA", "actual": "CPUExecutionProvider"}


def test_a_start_without_cuda_prints_nothing(pristine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Embedder.load(pristine, provider="auto").close()
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------- whom it turns away

MINUTES = np.tile(speech_like(6.0), 200)  # 20 minutes keep the tiny model busy for a good quarter of a second


def run_together(embedder: Embedder, count: int, waveform: Any) -> list[object]:
    """Embed at the same instant from `count` threads; what each got or was refused with."""
    gate = threading.Barrier(count)

    def one(_: int) -> object:
        gate.wait()
        try:
            return embedder.embed(waveform)
        except (Overloaded, InferenceTimeout, ModelNotReady) as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_turns_away_what_the_queue_cannot_hold(pristine: Path) -> None:
    embedder = Embedder.load(pristine, provider="cpu", workers=1, queue=2)
    results = run_together(embedder, 6, MINUTES)
    refused = [result for result in results if isinstance(result, Overloaded)]
    embedded = [result for result in results if isinstance(result, np.ndarray)]
    assert (len(refused), len(embedded)) == (3, 3)
    assert refused[0].facts == {"workers": 1, "waiting": 2, "retry_after_s": 1}
    assert all(np.array_equal(result, embedded[0]) for result in embedded)
    embedder.embed(speech_like(1.0))  # every place is free again
    embedder.close()


def test_stops_what_is_overdue_and_frees_the_worker(pristine: Path) -> None:
    embedder = Embedder.load(pristine, provider="cpu", workers=1, queue=3, timeout_s=0.05)
    results = run_together(embedder, 4, MINUTES)
    assert [type(result) for result in results] == [InferenceTimeout] * 4
    assert isinstance(results[0], InferenceTimeout)
    assert results[0].limit_s == 0.05
    deadline, embedded = time.monotonic() + 30, 0
    while embedded < 10:  # no place was lost
        try:
            embedder.embed(speech_like(0.1))
            embedded += 1
        except (InferenceTimeout, Overloaded):  # the stopped run may end its operator first
            assert time.monotonic() < deadline
            time.sleep(0.01)
    embedder.close()


def test_many_threads_get_what_one_gets(pristine: Path) -> None:
    embedder = Embedder.load(pristine, provider="cpu", workers=4, queue=64)
    waveforms = [speech_like(0.3 + 0.05 * n, speaker=n) for n in range(16)]
    alone = [embedder.embed(waveform) for waveform in waveforms]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(embedder.embed, waveforms * 3))
    for found, expected in zip(together, alone * 3, strict=True):
        np.testing.assert_array_equal(found, expected)
    embedder.close()


def test_a_refusal_takes_no_place(pristine: Path) -> None:
    embedder = Embedder.load(pristine, provider="cpu", workers=1, queue=0)
    for _ in range(5):
        with pytest.raises(AudioTooShort):
            embedder.embed(np.zeros(3, np.float32))
        embedder.embed(speech_like(0.2))
    embedder.close()


def test_a_closed_embedder_is_not_ready(pristine: Path) -> None:
    embedder = Embedder.load(pristine, provider="cpu")
    embedder.close()
    embedder.close()
    for _ in range(40):
        with pytest.raises(ModelNotReady):
            embedder.embed(speech_like(0.2))


@pytest.mark.parametrize(
    "options", [{"workers": 0}, {"queue": -1}, {"timeout_s": 0.0}, {"timeout_s": float("nan")}]
)
def test_refuses_a_queue_that_cannot_work(pristine: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="workers must be"):
        Embedder.load(pristine, provider="cpu", **options)


def test_a_graph_that_does_not_end_is_given_up() -> None:
    """Loops are allowed, since exported recurrent networks have them."""
    go_on = threading.Event()
    asked: list[Any] = []

    def run(options: Any) -> float:
        asked.append(options)
        return float(go_on.wait(60))

    assert loading._within(0.05, run) is None
    assert asked[0].terminate
    go_on.set()
    assert loading._within(60, run) == 1.0
    failed = loading._within(60, lambda _options: [][0])
    assert isinstance(failed, IndexError)
