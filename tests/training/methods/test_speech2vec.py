"""Speech2Vec: its loss, its batches, both of its directions, and the words that it has learnt."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.training.methods.conftest import Learn
from tests.training.methods.spoken import Row, write_manifest
from training.corpus import load_corpus, read_manifest
from training.groups import read_columns
from training.method import branch_of
from training.methods.speech2vec import Options, WordBatches, WordError
from training.pairs import Balance, Crops
from training.segments import Words
from training.words import main as words

pytestmark = pytest.mark.timeout(600)
WORDS = ("ai", "eo", "ua", "io")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine speakers, four words, three takes of each."""
    rows = [Row(word, who, take) for who in range(9) for take in range(3) for word in WORDS]
    return write_manifest(tmp_path_factory.mktemp("words") / "made", rows)


def test_error_is_the_mean_over_the_frames_of_the_words_that_are_there() -> None:
    rng = np.random.default_rng(0)
    heard, said = rng.normal(size=(1, 3, 6, 2)), rng.normal(size=(1, 6, 2))
    samples = np.array([[400, 0, 400 + 2 * 320]])  # one step, no word, three steps
    scaled = heard / np.sqrt(np.mean(heard**2, axis=2, keepdims=True) + 1e-4)
    each = [(scaled[0, word, step] - said[0, step]) ** 2 for word, step in ((0, 0), (2, 0), (2, 1), (2, 2))]
    found = WordError()([np.float32(heard), np.float32(said), np.float32(samples)])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), [np.mean(each)], rtol=1e-4)


def test_a_batch_holds_words_with_neighbours(manifest: Path, tmp_path: Path) -> None:
    corpus = load_corpus(read_manifest(manifest, "train"), tmp_path)
    around = Words(corpus, read_columns(manifest), 2)
    batches = WordBatches(Crops(corpus, None, 0.5), Balance(), 8, 2, words=around)
    inputs, zeros = batches[0]
    assert inputs["words"].shape == (8, 5, 8000)
    assert zeros.shape == (8,)
    assert (inputs["samples"][:, 0] > 0).all()
    assert (inputs["samples"][:, 1:] > 0).any(axis=1).all()
    assert not inputs["words"][inputs["samples"] == 0].any()
    for word, count in zip(inputs["words"].reshape(-1, 8000), inputs["samples"].reshape(-1), strict=True):
        assert count == 0 or np.array_equal(word, np.resize(word[: int(count)], 8000))
    again, _ = batches[0]
    assert np.array_equal(again["words"], inputs["words"])


def test_a_corpus_without_neighbours_is_refused(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "made", [Row("a", 0, 0), Row("a", 1, 0)])
    corpus = load_corpus(read_manifest(path), tmp_path / "c")
    batches = WordBatches(
        Crops(corpus, None, 0.5), Balance(), 2, 1, words=Words(corpus, read_columns(path), 1)
    )
    with pytest.raises(ValueError, match="no two words beside each other"):
        batches[0]


def test_only_two_kinds_exist() -> None:
    with pytest.raises(ValueError, match="skip_gram or cbow"):
        Options(kind="glove")  # type: ignore[arg-type]


def test_skip_gram_learns_words_and_lists_the_nearest(
    learn: Learn, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"units": 24, "dim": 16, "window": 1}
    learnt = learn("speech2vec-skipgram", options=small, manifest=manifest, crop_s=0.4, epochs=4)
    assert learnt.losses[-1] < learnt.losses[0]
    stage = learnt.run / "stage1-speech2vec"
    resumed = branch_of(keras.saving.load_model(stage / "training.keras"))
    sound = np.random.default_rng(0).normal(0, 0.1, (2, 9000)).astype(np.float32)
    kept = keras.saving.load_model(stage / "branch.keras")
    np.testing.assert_allclose(resumed.predict_on_batch(sound), kept.predict_on_batch(sound), atol=1e-5)

    words(["--run", str(learnt.run), "--corpus", str(manifest), "--cache", str(tmp_path / "c")])
    text = (learnt.run / "words.md").read_text()
    assert text in capsys.readouterr().out
    assert all(f"| made | {word} | 3 |" in text for word in WORDS)
    _, count, asked, speakers, right, untrained, chance = text.splitlines()[2].strip("| ").split(" | ")
    assert (count, asked, speakers, chance) == ("4", "24", "2", "25.0%")
    assert float(right[:-1]) > 50
    assert untrained != right
    assert (learnt.run / "words.png").stat().st_size > 10_000


def test_cbow_learns_from_sentences_and_exports(learn: Learn, tmp_path: Path) -> None:
    rows = [Row("ai eo ua io", who, take, written="") for who in range(6) for take in range(3)]
    manifest = write_manifest(tmp_path / "made", rows)
    small = {"units": 24, "dim": 16, "window": 1}
    learnt = learn("speech2vec-cbow", options=small, manifest=manifest, crop_s=0.4, steps=20)
    assert learnt.losses[-1] < learnt.losses[0]
    assert learnt.eer < 50
    assert learnt.export(tmp_path / "model").dim == 16
