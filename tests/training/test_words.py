"""Average embeddings of words: which they are made of, and who is asked."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.methods.conftest import SMALL
from tests.training.methods.spoken import Row, write_manifest
from training.corpus import load_corpus, place_of, read_manifest
from training.groups import read_columns
from training.network import build_network
from training.words import Spoken, dictionary, find, main, spoken_words, untrained


def spoken(words: list[str], speakers: list[str], embeddings: list[list[float]]) -> Spoken:
    return Spoken(np.array(words), np.array(speakers), np.array(embeddings, np.float32))


def test_the_average_is_of_unit_length_and_rare_words_are_left_out() -> None:
    found = dictionary(spoken(["b", "a", "a", "c"], list("xxyy"), [[0, 1], [1, 0], [0, 1], [1, 0]]), least=2)
    assert found.words.tolist() == ["a"]
    assert found.counts.tolist() == [2]
    np.testing.assert_allclose(found.means, [[0.5**0.5, 0.5**0.5]], rtol=1e-6)


def test_half_of_the_speakers_are_asked_for_the_words_of_the_others() -> None:
    first, second = sorted(["anna", "bert"], key=place_of)
    words = ["a"] * 3 + ["b"] * 3 + ["a", "b", "b", "c"]
    who = [first] * 6 + [second] * 4
    near_a, near_b = [1.0, 0.0], [0.0, 1.0]
    # The second speaker's last b sounds like an a; nobody of the first half says c.
    found = find(spoken(words, who, [near_a] * 3 + [near_b] * 3 + [near_a, near_b, near_a, near_a]))
    assert found is not None
    assert found.right == pytest.approx(2 / 3)
    assert (found.asked, found.speakers, found.chance) == (3, 1, 0.5)


def test_one_speaker_alone_cannot_be_asked() -> None:
    assert find(spoken(["a", "b"] * 3, ["x"] * 6, [[1, 0], [0, 1]] * 3)) is None


def test_a_corpus_without_words_is_refused(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "made", [Row("a", n, 0, written="a sentence") for n in range(3)])
    corpus = load_corpus(read_manifest(manifest), tmp_path / "c")
    with pytest.raises(ValueError, match="no recording is one word"):
        spoken_words(corpus, read_columns(manifest), build_network(SMALL), 0.5)


def test_a_run_that_has_not_ended_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--run", str(tmp_path), "--corpus", str(tmp_path / "none.csv")])
    assert "has no branch.keras" in capsys.readouterr().err


def test_an_untrained_network_is_the_same_one_with_other_weights() -> None:
    network = build_network(SMALL)
    other, again = untrained(network, seed=1), untrained(network, seed=1)
    shapes = [[weight.shape for weight in model.get_weights()] for model in (network, other)]
    assert shapes[0] == shapes[1]
    assert not np.array_equal(
        network.get_layer("project").get_weights(), other.get_layer("project").get_weights()
    )
    for mine, same in zip(other.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, same)
