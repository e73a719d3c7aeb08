"""Every way in which a model folder can be wrong: refused at the start in one line, never a score."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio.from_thread
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.cli import serve
from app.embedder import Embedder, loading, pin_calibration, read_manifest
from app.errors import ModelInvalid
from app.main import create_app
from tests import tiny
from tests.served import assert_problem, audio, clip, enroll, serving, settings_for

Harm = Callable[[Path], object]
FILES: Final = ("manifest.json", "model.onnx", "golden.npz", "calibration.json")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of one shape; the second has a file in eight bits that every processor serves."""
    folder = tmp_path_factory.mktemp("shelf")
    tiny.write_tiny_model(folder / "tiny")
    tiny.write_tiny_model(folder / "other", name="other", seed=1)
    return folder


# ---------------------------------------------------------------- the harms


def missing(name: str) -> Harm:
    return lambda folder: (folder / name).unlink()


def cut(name: str, share: float) -> Harm:
    def harm(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return harm


def flipped(name: str, share: float) -> Harm:
    def harm(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[int((len(data) - 1) * share)] ^= 1
        (folder / name).write_bytes(data)

    return harm


def swapped(*names: str) -> Harm:
    def harm(folder: Path) -> None:
        for name in names:
            shutil.copy(folder.parent / "other" / name, folder / name)

    return harm


def special(name: str, what: str) -> Harm:
    def harm(folder: Path) -> None:
        (folder / name).unlink()
        if what == "pipe":
            os.mkfifo(folder / name)
        elif what == "endless":
            (folder / name).symlink_to("/dev/zero")
        elif what == "folder":
            (folder / name).mkdir()
        else:
            (folder / name).symlink_to(folder / "nowhere")

    return harm


def text(name: str, content: str) -> Harm:
    return lambda folder: (folder / name).write_text(content)


def calibrated(**changes: Any) -> Harm:
    """A calibration with other numbers, to which the manifest points."""

    def harm(folder: Path) -> None:
        content = json.loads((folder / "calibration.json").read_text())
        (folder / "calibration.json").write_text(json.dumps({**content, **changes}))
        pin_calibration(folder)

    return harm


def pinned(content: str) -> Harm:
    """Something else in the place of a calibration, to which the manifest points."""

    def harm(folder: Path) -> None:
        (folder / "calibration.json").write_text(content)
        pin_calibration(folder)

    return harm


def manifested(**changes: Any) -> Harm:
    def harm(folder: Path) -> None:
        content = {**json.loads((folder / "manifest.json").read_text()), **changes}
        (folder / "manifest.json").write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))

    return harm


def filed(**changes: Any) -> Harm:
    def harm(folder: Path) -> None:
        content = json.loads((folder / "manifest.json").read_text())
        content["files"][0].update(changes)
        (folder / "manifest.json").write_text(json.dumps(content))

    return harm


def graphed(change: Callable[[onnx.ModelProto], None]) -> Harm:
    """Another graph, with hash, metadata and calibration made right again: only the graph is wrong."""

    def harm(folder: Path) -> None:
        model = onnx.load(str(folder / "model.onnx"))
        change(model)
        tiny.save_model(folder, model, read_manifest(folder))
        tiny.write_calibration(folder)

    return harm


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/hostname")
    tensor.ClearField("raw_data")


def custom(domain: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid(domain, 1))
        model.graph.node.append(helper.make_node("Gelu", ["projected"], ["unused"], domain=domain))

    return change


def custom_in_a_branch(model: onnx.ModelProto) -> None:
    node = helper.make_node("Evil", [], ["inner"], domain="com.example")
    inner = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    branch = helper.make_graph([node], "b", [], [inner])
    deeper = helper.make_node("If", ["no"], ["inner"], then_branch=branch, else_branch=branch)
    outer = helper.make_graph([deeper], "o", [], [inner])
    model.graph.initializer.append(numpy_helper.from_array(np.array(False), "no"))
    model.graph.node.append(helper.make_node("If", ["no"], ["unused"], then_branch=outer, else_branch=outer))


def function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Evil", ["x"], ["y"], domain="com.example")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    model.functions.append(helper.make_function("", "Mine", ["x"], ["y"], body, opsets))


def gigantic(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**20, 2**20]), "shape"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["gigantic"]))


def gigantic_for_each(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2**30]), "times"))
    model.graph.node.append(helper.make_node("Tile", ["projected", "times"], ["gigantic"]))


def renamed_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "vector"


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("secret", TensorProto.FLOAT, [1]))


def no_unit_length(model: onnx.ModelProto) -> None:
    model.graph.node[-1].CopyFrom(helper.make_node("Identity", ["projected"], ["embedding"]))


def not_a_number(model: onnx.ModelProto) -> None:
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(tiny.DIM, np.nan, np.float32), "bias"))


def other_golden(folder: Path) -> None:
    golden = dict(np.load(folder / "golden.npz"))
    golden["embedding"] = golden["embedding"][::-1].copy()
    np.savez(folder / "golden.npz", **golden)


def bomb(folder: Path) -> None:
    """An archive whose directory says that a part of it unpacks to a gigabyte."""
    data = bytearray((folder / "golden.npz").read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (1 << 30).to_bytes(4, "little")
    (folder / "golden.npz").write_bytes(data)


POINT: Final = {
    "fmr": 0.05,
    "fnmr": 0.01,
    "threshold": 0.69,
    "fmr_interval": [0.04, 0.06],
    "fnmr_interval": [0.0, 0.1],
}
HARMS: Final[dict[str, tuple[Harm, str]]] = {
    **{f"{name} missing": (missing(name), f"{name} is missing") for name in FILES},
    **{f"{name} empty": (cut(name, 0.0), f"{name} is empty") for name in FILES},
    **{f"{name} cut at {share}": (cut(name, share), name) for name in FILES for share in (0.1, 0.5, 0.99)},
    **{
        f"{name} one bit at {share}": (flipped(name, share), "SHA-256" if name == "model.onnx" else name)
        for name in ("model.onnx", "calibration.json")
        for share in (0.0, 0.3, 0.7, 1.0)
    },
    **{f"{name} a {what}": (special(name, what), name) for name in FILES for what in ("pipe", "folder")},
    "model.onnx endless": (special("model.onnx", "endless"), "model.onnx is no file"),
    "calibration.json a dead link": (special("calibration.json", "dead"), "calibration.json is missing"),
    "model.onnx of another model": (swapped("model.onnx"), "SHA-256"),
    "golden.npz of another model": (swapped("golden.npz"), "golden vectors come out"),
    "calibration.json of another model": (swapped("calibration.json"), "not what manifest.json says"),
    "manifest.json of another model": (swapped("manifest.json"), "SHA-256"),
    "model.onnx and manifest.json of another": (swapped("model.onnx", "manifest.json"), "golden vectors"),
    "all but the calibration of another": (
        swapped("model.onnx", "manifest.json", "golden.npz"),
        "not what manifest.json says",
    ),
    "calibration of another, pinned": (calibrated(model_sha256="0" * 64), "another model.onnx"),
    "calibration without a pin": (manifested(calibration_sha256=...), "lacks calibration_sha256"),
    "pin that is none": (manifested(calibration_sha256="f" * 63), "64 hexadecimal digits"),
    "manifest nested too deep": (text("manifest.json", "[" * 100_000), "manifest.json cannot be read"),
    "manifest no text": (text("manifest.json", "\x00"), "manifest.json cannot be read"),
    "manifest a list": (text("manifest.json", "[]"), "no JSON object"),
    "file outside": (filed(file="../other/model.onnx"), "plain name"),
    "file absolute": (filed(file="/etc/passwd"), "plain name"),
    "file with NUL": (filed(file="model.onnx\x00.onnx"), "plain name"),
    "hash of something else": (filed(sha256="0" * 64), "SHA-256"),
    "name with a newline": (manifested(name="tiny\nforged line"), "name must be"),
    "dim without end": (manifested(dim=10**30), "dim must be"),
    "golden vectors in another order": (other_golden, "golden vectors come out"),
    "golden vectors that unpack without end": (bomb, "unpacks to more"),
    "weights elsewhere": (graphed(external), "another file"),
    "operators of another": (graphed(custom("com.example")), "com.example"),
    "operators of the runtime in float32": (graphed(custom("com.microsoft")), "com.microsoft"),
    "operators of another in a branch": (graphed(custom_in_a_branch), "com.example"),
    "functions": (graphed(function), "local functions"),
    "a tensor of 2^40 values": (graphed(gigantic), "values"),
    "2^30 copies of each value": (graphed(gigantic_for_each), "values"),
    "another output": (graphed(renamed_output), "'embedding'"),
    "another input": (graphed(second_input), "'waveform'"),
    "no unit length": (graphed(no_unit_length), "no unit length"),
    "not a number": (graphed(not_a_number), "no unit length"),
    "calibration with NaN": (calibrated(eer=float("nan")), "EER"),
    "calibration with a rate of 7": (calibrated(operating_points=[{**POINT, "fmr": 7}]), "rates lie in"),
    "calibration with an endless threshold": (
        calibrated(operating_points=[{**POINT, "threshold": float("inf")}]),
        "thresholds are finite",
    ),
    "calibration with a slope that falls": (
        calibrated(
            score={
                "offset": 0,
                "similarity": -1,
                "speech": 0,
                "enrolled": 0,
                "similarity_x_speech": 0,
                "similarity_x_enrolled": 0,
                "speech_range_s": [1, 2],
                "centre": 0,
            }
        ),
        "does not rise",
    ),
    "calibration without trials": (
        calibrated(trials={"target": 0, "impostor": 0, "speakers": 0}),
        "needs trials",
    ),
    "calibration of no points": (calibrated(operating_points=[]), "operating point"),
    "calibration a list": (
        lambda f: (text("calibration.json", "[]")(f), pin_calibration(f)),
        "no calibration|not a",
    ),
    "calibration nested too deep": (pinned("[" * 100_000), "not a calibration"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_wrong_folder_is_refused_at_the_start_in_one_line(
    shelf: Path, tmp_path: Path, sqlite_url: str, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    models = Path(shutil.copytree(shelf, tmp_path / "models"))
    do, words = HARMS[harm]
    do(models / "tiny")
    with pytest.raises(SystemExit) as ended:
        serve.run(settings_for(models, sqlite_url), reload=False)
    assert ended.value.code == 1
    said = capsys.readouterr().err.strip()
    assert re.match(f"timbre: The model in .*({words})", said), said
    assert len(said.splitlines()) == 1, said


@pytest.mark.parametrize("harm", ["golden.npz of another model", "calibration.json of another model"])
def test_the_application_refuses_by_itself(shelf: Path, tmp_path: Path, sqlite_url: str, harm: str) -> None:
    models = Path(shutil.copytree(shelf, tmp_path / "models"))
    do, words = HARMS[harm]
    do(models / "tiny")
    app = create_app(settings_for(models, sqlite_url))
    with anyio.from_thread.start_blocking_portal() as portal:
        context = portal.wrap_async_context_manager(app.router.lifespan_context(app))
        with pytest.raises(ModelInvalid, match=words):
            context.__enter__()


@pytest.mark.parametrize("harm", ["model.onnx one bit at 0.7", "calibration.json of another model"])
def test_the_command_itself_ends_with_one_line(shelf: Path, tmp_path: Path, harm: str) -> None:
    models = Path(shutil.copytree(shelf, tmp_path / "models"))
    HARMS[harm][0](models / "tiny")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIMBRE_")}
    chosen = {"MODEL": "tiny", "PROVIDER": "cpu", "MODELS_DIR": str(models)}
    chosen |= {"DATABASE_URL": f"sqlite:///{tmp_path}/timbre.db", "PORT": "0"}
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", "serve"],
        env=kept | {f"TIMBRE_{name}": value for name, value in chosen.items()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    assert [line[:21] for line in ended.stderr.splitlines()] == ["timbre: The model in "]
    assert ended.stdout == ""


def test_a_model_that_takes_too_long_is_refused(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(shelf / "tiny", tmp_path / "tiny"))
    golden = dict(np.load(folder / "golden.npz"))
    minutes = np.tile(golden["waveform"], 200)
    np.savez(
        folder / "golden.npz",
        waveform=minutes,
        length=np.array([len(minutes)]),
        embedding=golden["embedding"][:1],
    )
    tiny.save_model(folder, tiny.slowed(onnx.load(str(folder / "model.onnx"))), read_manifest(folder))
    monkeypatch.setattr(loading, "LONGEST_GOLDEN_S", 0.05)
    with pytest.raises(ModelInvalid, match="takes longer than"):
        Embedder.load(folder, provider="cpu")


def test_a_bad_file_in_eight_bits_leaves_the_exact_one_serving(
    shelf: Path, tmp_path: Path, sqlite_url: str
) -> None:
    models = Path(shutil.copytree(shelf, tmp_path / "models"))
    tiny.add_int8(models / "tiny")
    flipped("model.int8.onnx", 0.5)(models / "tiny")
    with serving(settings_for(models, sqlite_url, precision="auto")) as client:
        model = client.get("/readyz").json()["checks"]["model"]
        assert (model["precision"], model["golden_cosine"] > 0.999) == ("fp32", True)


def test_a_folder_that_changes_while_it_serves_gives_no_other_score(
    shelf: Path, tmp_path: Path, sqlite_url: str
) -> None:
    models = Path(shutil.copytree(shelf, tmp_path / "models"))
    probe = audio(clip(1, 5))
    with serving(settings_for(models, sqlite_url)) as client:
        enroll(client, "ada", voice=1)
        before = client.post("/verify", files=probe, data={"speaker_id": "ada"}).json()
        swapped(*FILES)(models / "tiny")
        after = client.post("/verify", files=probe, data={"speaker_id": "ada"}).json()
        assert (after["score"], after["model"]) == (before["score"], before["model"])
        # A folder that is asked for now is checked now; a bad one takes nobody anywhere.
        flipped("model.onnx", 0.5)(models / "other")
        refused = client.post("/v1/models/other:activate")
        assert_problem(refused, 503, "model_not_ready")
        again = client.post("/verify", files=probe, data={"speaker_id": "ada"}).json()
        assert again["score"] == before["score"]
    # The next start has another model, and with it another partition: nothing is compared across.
    with serving(settings_for(models, sqlite_url)) as client:
        unknown = client.post("/verify", files=probe, data={"speaker_id": "ada"})
        assert_problem(unknown, 409, "reenrollment_required")
