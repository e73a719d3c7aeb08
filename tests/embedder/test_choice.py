"""Which file of a model serves: the choosing by numbers, and real files timed in real sessions."""

import json
import logging
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from app.audio import prepare
from app.embedder import Embedder, read_manifest, sha256_of
from app.embedder.choice import CLEARLY_FASTER, choose, milliseconds, processor_flags, serves_processor
from app.embedder.manifest import ModelFile, Precision
from app.errors import ModelInvalid
from app.settings import Settings
from tests import tiny
from training.signals import speech_like

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "models" / Settings.model_fields["model"].default


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The tiny model, in float32 only."""
    return tiny.write_tiny_model(tmp_path / "tiny")


def slow_float32(folder: Path) -> None:
    """Make the float32 file the slow one."""
    tiny.save_model(folder, tiny.slowed(onnx.load(str(folder / "model.onnx"))), read_manifest(folder))


def said(caplog: pytest.LogCaptureFixture) -> tuple[int, str]:
    """The one line of the log: its severity and its text."""
    (record,) = [record for record in caplog.records if record.name == "timbre.model"]
    return record.levelno, record.getMessage()


@pytest.fixture(autouse=True)
def _hear_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "timbre.model")


# ---------------------------------------------------------------- by numbers


@pytest.mark.parametrize(
    ("fp32", "int8", "expected"),
    [(8.8, 5.5, "int8"), (12.0, 10.0, "int8"), (11.9, 10.0, "fp32"), (5.0, 8.0, "fp32"), (9.0, 9.0, "fp32")],
)
def test_eight_bits_serve_only_where_they_are_clearly_faster(fp32: float, int8: float, expected: str) -> None:
    choice = choose({"fp32": fp32, "int8": int8})
    assert choice.precision == expected
    assert choice.measured_ms == {"fp32": fp32, "int8": int8}
    numbers = (f"{fp32:.1f} ms", f"{int8:.1f} in int8", f"{CLEARLY_FASTER:g} times", f"is {fp32 / int8:.2f}")
    assert all(number in choice.reason for number in numbers)


def test_files_are_timed_in_turns_and_by_the_median() -> None:
    turns: list[str] = []

    def slow() -> None:
        turns.append("fp32")
        time.sleep(0.2 if len(turns) == 9 else 0.004)  # one busy moment

    def fast() -> None:
        turns.append("int8")
        time.sleep(0.001)

    found = milliseconds({"fp32": slow, "int8": fast})
    assert turns == ["fp32", "int8"] * (len(turns) // 2)
    assert 1 <= found["int8"] < found["fp32"] < 150


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512_vnni\nbugs\t: x\n\nflags\t: other\n", {"fpu", "avx512_vnni"}),
        ("Features\t: fp asimd asimddp\n", {"fp", "asimd", "asimddp"}),
        ("flags\t:\n", set()),
        ("nothing of the kind", set()),
    ],
)
def test_reads_what_the_processor_can_do(tmp_path: Path, text: str, expected: set[str]) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert processor_flags(tmp_path / "cpuinfo") == expected
    assert processor_flags(tmp_path / "elsewhere") == set()


@pytest.mark.parametrize(
    ("serves", "expected"),
    [
        (("cpu",), True),
        (("cpu:avx_vnni", "cpu:avx512_vnni"), True),
        (("cpu:avx_vnni",), False),
        (("cuda",), False),
        ((), False),
    ],
)
def test_the_manifest_says_which_processor_a_file_serves(serves: tuple[str, ...], expected: bool) -> None:
    file = ModelFile("model.int8.onnx", "int8", "0" * 64, serves, "")
    assert serves_processor(file, frozenset({"fma", "avx512_vnni"})) is expected


# ---------------------------------------------------------------- by the clock


def test_the_faster_file_serves(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    slow_float32(folder)
    tiny.add_int8(folder)
    embedder = Embedder.load(folder, provider="cpu", precision="auto")
    small = Embedder.load(folder, provider="cpu", precision="int8")
    exact = Embedder.load(folder, provider="cpu", precision="fp32")
    waveform = speech_like(2.0, speaker=4)
    assert embedder.choice.precision == "int8"
    np.testing.assert_array_equal(embedder.embed(waveform), small.embed(waveform))
    assert not np.array_equal(embedder.embed(waveform), exact.embed(waveform))
    assert embedder.embed(waveform) @ exact.embed(waveform) > 0.99
    took = embedder.choice.measured_ms
    assert took["fp32"] > CLEARLY_FASTER * took["int8"] > 0
    level, line = said(caplog)
    assert level == logging.INFO
    assert line.startswith(f"{embedder.manifest.model_id} serves in int8: ")
    assert f"{took['fp32']:.1f} ms in fp32 and {took['int8']:.1f} in int8" in line
    for each in (embedder, small, exact):
        each.close()


def test_eight_bits_that_win_nothing_do_not_serve(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    tiny.add_int8(folder, tiny.slowed(tiny.build_onnx_int8(tiny.weights(0))))
    embedder = Embedder.load(folder, provider="cpu", precision="auto")
    embedder.close()
    assert embedder.choice.precision == "fp32"
    assert embedder.golden_cosine > 0.99999
    assert embedder.choice.measured_ms["fp32"] < embedder.choice.measured_ms["int8"]
    assert said(caplog)[0] == logging.INFO


def test_a_model_without_eight_bits_serves_in_float32(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    embedder = Embedder.load(folder, provider="cpu", precision="auto")
    embedder.close()
    assert (embedder.choice.precision, embedder.choice.measured_ms) == ("fp32", {})
    level, line = said(caplog)
    assert level == logging.INFO
    assert "no file in eight bits" in line


@pytest.mark.parametrize(
    ("damage", "named"),
    [("missing", "is missing"), ("changed", "has SHA-256"), ("inexact", "at least 0.99 is needed")],
)
def test_eight_bits_that_cannot_be_used_are_left_aside_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture, damage: str, named: str
) -> None:
    slow_float32(folder)
    if damage == "inexact":
        tiny.add_int8(folder, tiny.build_onnx(tiny.weights(1)))
    else:
        tiny.add_int8(folder)
    path = folder / "model.int8.onnx"
    if damage == "missing":
        path.unlink()
    elif damage == "changed":
        path.write_bytes(path.read_bytes() + b"\0")
    embedder = Embedder.load(folder, provider="cpu", precision="auto")
    embedder.close()
    assert (embedder.choice.precision, embedder.choice.measured_ms) == ("fp32", {})
    level, line = said(caplog)
    assert level == logging.WARNING
    assert named in line
    with pytest.raises(ModelInvalid):  # by name it is refused
        Embedder.load(folder, provider="cpu", precision="int8")


def test_eight_bits_for_another_processor_are_not_even_opened(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slow_float32(folder)
    tiny.add_int8(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][1].update(serves=["cpu:no_such_flag"], suits="processors to come")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    embedder = Embedder.load(folder, provider="cpu", precision="auto")
    embedder.close()
    assert (embedder.choice.precision, embedder.choice.measured_ms) == ("fp32", {})
    assert "processors to come" in said(caplog)[1]
    by_name = Embedder.load(folder, provider="cpu", precision="int8")
    by_name.close()
    assert by_name.choice.precision == "int8"


def test_nothing_stands_in_for_a_float32_file_that_is_refused(folder: Path) -> None:
    tiny.add_int8(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelInvalid, match=r"model\.onnx is missing"):
        Embedder.load(folder, provider="cpu", precision="auto")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_precision_by_name_is_not_timed(
    folder: Path, caplog: pytest.LogCaptureFixture, precision: Precision
) -> None:
    tiny.add_int8(folder)
    embedder = Embedder.load(folder, provider="cpu", precision=precision)
    embedder.close()
    assert (embedder.choice.precision, embedder.choice.measured_ms) == (precision, {})
    assert not caplog.records


# ---------------------------------------------------------------- the shipped model


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="no shipped model in this checkout")
def test_both_files_of_the_shipped_model_give_nearly_the_same_embeddings() -> None:
    files = read_manifest(SHIPPED).files
    assert [file.sha256 for file in files] == [sha256_of(SHIPPED / file.file) for file in files]
    exact, small = (Embedder.load(SHIPPED, provider="cpu", precision=each) for each in ("fp32", "int8"))
    clips = [prepare(path.read_bytes(), max_duration_s=60) for path in sorted(ROOT.glob("tests/data/*.opus"))]
    cosines = [float(exact.embed(clip.waveform) @ small.embed(clip.waveform)) for clip in clips]
    exact.close()
    small.close()
    assert len(cosines) >= 20
    assert np.mean(cosines) >= 0.99
