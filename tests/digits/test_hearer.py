"""The shipped digit model: what it hears of synthetic voices, and the folders that it refuses to be."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from app.digits import DigitHearer
from app.digits.alignment import TOKENS
from app.digits.hearer import LOWEST_SCORE, RULE, write_threshold
from app.embedder import read_manifest
from app.embedder.golden import write_golden
from app.errors import InferenceTimeout, ModelInvalid, ModelNotReady
from app.service.challenges import draw_digits
from tests.spoken_digits import VOICES, spoken
from tests.tiny import write_tiny_model
from training.recordings import read_speech
from training.signals import speech_like

SHIPPED = Path(__file__).parents[2] / "models" / "digits-1"


@pytest.fixture(scope="module")
def hearer() -> Iterator[DigitHearer]:
    with closing(DigitHearer.load(SHIPPED, provider="cpu")) as loaded:
        yield loaded


@pytest.mark.parametrize("voice", VOICES)
def test_digits_that_are_said_pass_and_others_do_not(hearer: DigitHearer, voice: str) -> None:
    rng = np.random.default_rng(7)
    for _ in range(12):
        said = rng.permutation(10)[:6].tolist()
        waveform = spoken(said, voice)
        assert hearer.hear(waveform, said).passed, said
        for wrong in (said[::-1], [(digit + 5) % 10 for digit in said], [*said, *said[::-1]]):
            assert not hearer.hear(waveform, wrong).passed, (said, wrong)


def test_sentences_say_no_digits(hearer: DigitHearer) -> None:
    sentences = read_speech(Path(__file__).parents[1] / "data", 12)
    assert len(sentences) == 12
    passed = [hearer.hear(each, [4, 8, 1, 9, 0, 2]).passed for each in sentences]
    assert not any(passed)


def test_what_is_too_short_is_no_error(hearer: DigitHearer) -> None:
    for samples in (0, 1, 399, 400, 401):
        found = hearer.hear(np.zeros(samples, np.float32), [1, 2, 3, 4])
        assert (found.passed, found.heard) == (False, "")
        assert LOWEST_SCORE <= found.score <= 0


def test_threads_may_ask_side_by_side(hearer: DigitHearer) -> None:
    said = [4, 8, 1, 9]
    waveform, found = spoken(said), []
    threads = [threading.Thread(target=lambda: found.append(hearer.hear(waveform, said))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_hearer_that_is_closed_or_late_says_so() -> None:
    late = DigitHearer.load(SHIPPED, provider="cpu", timeout_s=1e-6)
    with closing(late), pytest.raises(InferenceTimeout):
        late.hear(np.tile(spoken([1, 2, 3]), 20), [1, 2, 3])
    with pytest.raises(ModelNotReady):
        late.hear(spoken([1, 2, 3]), [1, 2, 3])


# ---------------------------------------------------------------- refusals


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _more_bytes(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")


def _half(folder: Path) -> None:
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[: len(data) // 2])


def _rule(threshold: object) -> Callable[[Path], None]:
    """Another threshold, and the manifest agrees to it."""

    def change(folder: Path) -> None:
        write_threshold(folder, read_manifest(folder), threshold, {})  # type: ignore[arg-type]

    return change


def _changed_rule(folder: Path) -> None:
    found = json.loads((folder / RULE).read_text())
    (folder / RULE).write_text(json.dumps(found | {"threshold": -50.0}))


def _speaker_model(folder: Path) -> None:
    """A speaker model in its place."""
    shutil.rmtree(folder)
    write_tiny_model(folder)
    golden = [speech_like(1.0)]
    write_golden(folder, golden, np.ones((1, TOKENS), np.float32))
    write_threshold(folder, read_manifest(folder), -1.0, {})


def _other_golden(folder: Path) -> None:
    with np.load(folder / "golden.npz") as arrays:
        content = dict(arrays)
    content["embedding"] = np.roll(content["embedding"], 1, axis=1)
    np.savez_compressed(folder / "golden.npz", **content)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, "no such folder"),
        (_without("model.onnx"), "missing"),
        (_without("manifest.json"), "manifest.json is missing"),
        (_without("golden.npz"), "golden.npz is missing"),
        (_without(RULE), f"{RULE} is missing"),
        (_more_bytes, "SHA-256"),
        (_half, "SHA-256"),
        (_changed_rule, "SHA-256"),
        (_rule("low"), "cannot be read"),
        (_rule(0.5), "no score"),
        (_rule(float("nan")), "no score"),
        (_other_golden, "golden vectors"),
        (_speaker_model, "no digit model"),
    ],
)
def test_a_wrong_folder_is_refused_in_words(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    folder = tmp_path / "digits-1"
    shutil.copytree(SHIPPED, folder)
    damage(folder)
    with pytest.raises(ModelInvalid, match=words):
        DigitHearer.load(folder, provider="cpu")


# ---------------------------------------------------------------- digits that are drawn


def test_digits_are_drawn_evenly_and_never_twice_in_a_row() -> None:
    drawn = [draw_digits(6) for _ in range(2000)]
    assert all(one != other for digits in drawn for one, other in pairwise(digits))
    counts = [[digits[place] for digits in drawn].count(digit) for digit in "0123456789" for place in (0, 5)]
    assert min(counts) > 120, "200 are expected; below 120 lies less than one in ten million"
    assert len(set(drawn)) > 1950
