from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.embedder import Embedder
from app.scoring import centroid
from tests.tiny import write_tiny_model
from training.corpus import Source, read_sources
from training.metrics import Trials, read_trial_folder
from training.scored import Enrolments, Features, measure, read_features, score_trials, sources_of


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


AXES = np.eye(4, dtype=np.float32)
FEATURES = {f"u{i}": Features(AXES[i], np.arange(4.0) + i**2, 1.5) for i in range(4)}
SOURCES = [Source(f"u{i}", "ann" if i < 3 else "bob", Path(f"u{i}"), "set", "dev") for i in range(4)]


def test_an_enrolment_has_enough_speech_and_never_the_tested_recording() -> None:
    enrolments = Enrolments(SOURCES, FEATURES, required_s=2.0)
    one, other = enrolments.of("u1", "u3"), enrolments.of("u1", "u2")
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one.centroid, centroid(AXES[[1, 2]]), atol=1e-6)
    np.testing.assert_allclose(other.centroid, centroid(AXES[[1, 0]]), atol=1e-6)
    np.testing.assert_array_equal(other.references, AXES[[1, 0]])
    assert one.speech_s == 3.0
    assert enrolments.of("u3", "u0") is None


def test_a_trial_says_who_spoke_how_long_and_how_alike() -> None:
    features = FEATURES | {"u3": replace(FEATURES["u3"], embedding=centroid(AXES[[1, 1, 2]]), speech_s=0.7)}
    trials = Trials(np.array([0, 1, 0]), ["u1", "u0", "u3"], ["u3", "u1", "u0"])
    m = score_trials(trials, Enrolments(SOURCES, features, required_s=2.0))
    assert m.enroll_speakers.tolist() == ["ann", "ann", "bob"]
    assert m.test_speakers.tolist() == ["bob", "ann", "ann"]
    np.testing.assert_allclose(m.speech_s, [0.7, 1.5, 1.5])
    np.testing.assert_allclose(m.enroll_speech_s, [1.5, 1.5, 0.7])
    np.testing.assert_allclose(m.enrolled_speech_s, [3.0, 3.0, np.nan])
    u3 = np.array([2, 1]) / np.sqrt(5)  # its part along u1 and u2
    np.testing.assert_allclose(m.scores, [u3[0], 0, 0], atol=1e-6)
    np.testing.assert_allclose(m.enrolled, [u3.sum() / np.sqrt(2), 0, np.nan], atol=1e-6)
    np.testing.assert_allclose(m.enrolled_best, [u3[0], 0, np.nan], atol=1e-6)
    known = m.against_enrolments
    assert known.test.tolist() == ["u3", "u1"]
    assert known.has_both_kinds
    assert not m.chosen(m.labels == 0).has_both_kinds


def test_a_changed_recording_is_tested_while_the_enrolled_one_stays() -> None:
    trials = Trials(np.array([1, 0]), ["u0", "u3"], ["u1", "u1"])
    enrolments = Enrolments(SOURCES, FEATURES, required_s=1.0)
    changed = {"u1": replace(FEATURES["u1"], embedding=AXES[0], speech_s=0.5)}
    m = score_trials(trials, enrolments, tested=changed)
    np.testing.assert_allclose(m.scores, [1, 0], atol=1e-6)
    np.testing.assert_allclose(m.speech_s, [0.5, 0.5])
    np.testing.assert_allclose(score_trials(trials, enrolments).scores, [0, 0], atol=1e-6)


def test_a_trial_of_an_unknown_utterance_is_an_error(miniature: Path, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("1 s5-0 nobody\n0 s5-0 s6-0\n")
    with pytest.raises(ValueError, match="nobody"):
        sources_of(read_trial_folder(tmp_path), read_sources(miniature / "utterances.csv"))


def test_features_are_kept_and_only_new_recordings_are_embedded(
    miniature: Path, model: Path, tmp_path: Path
) -> None:
    lists = read_trial_folder(miniature / "trials")
    sources = sources_of(lists, read_sources(miniature / "utterances.csv"))
    assert {s.speaker_id for s in sources} == {"s5", "s6", "s7"}
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF, and then nothing")
    sources.append(Source("broken", "s5", broken, "set1", "dev"))
    embedder = Embedder.load(model)
    fresh, refused = read_features(sources, embedder, cache=tmp_path / "cache")
    embedder.close()  # whatever asks the model from here on is refused
    assert refused == ["broken"]
    kept, again = read_features(sources, embedder, cache=tmp_path / "cache")
    assert again == ["broken"]
    assert kept.keys() == fresh.keys()
    for name, features in fresh.items():
        np.testing.assert_array_equal(kept[name].embedding, features.embedding)
        assert kept[name].embedding.dtype == np.float32
        assert kept[name].speech_s == features.speech_s
        assert kept[name].snr_db == pytest.approx(features.snr_db, nan_ok=True)
    measured = measure(lists, Enrolments(sources, kept, 2.0))["tiny"]
    assert len(measured.labels) == 66
    assert measured.has_both_kinds
