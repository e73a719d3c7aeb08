"""Spoken sentences by several tasks: the loss of texts, what lacks a label, and which tasks there are."""

import itertools
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.training.methods.conftest import Learn
from tests.training.methods.spoken import Row, write_manifest
from training.corpus import load_corpus, read_manifest
from training.groups import read_columns
from training.method import branch_of
from training.methods.multitask import Options, TranscriptLoss, tasks
from training.pairs import Balance, Crops
from training.sentences import CharacterErrors, SentenceBatches, labels_of, steps_of

pytestmark = pytest.mark.timeout(600)
TEXTS = ("ai eo", "ua io", "oi", "ea ui")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine speakers; every third recording has no text, every second no emotion, one text is of digits."""
    rows, count = [], itertools.count()
    for who, take, text in itertools.product(range(9), range(2), TEXTS):
        number = next(count)
        mood = ("glad", "sad")[take]
        written = "" if number % 3 == 0 else "12" if number == 1 else None
        rows.append(Row(text, who, take, emotion=mood if number % 2 else "", written=written))
    return write_manifest(tmp_path_factory.mktemp("sentences") / "made", rows)


def test_the_loss_of_a_text_is_over_all_its_alignments() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)

    def expected(row: int, steps: int, text: list[int]) -> float:
        total = 0.0
        for path in itertools.product(range(3), repeat=steps):
            if [c for c, _ in itertools.groupby(path) if c] == text:
                total += float(np.prod([shares[row, step, c] for step, c in enumerate(path)]))
        return float(-np.log(total) / len(text))

    targets = np.array([[4, 1, 1, 0], [5, 2, 1, 0]])
    found = TranscriptLoss(reduction=None)(targets, logits)
    wanted = [expected(0, 4, [1, 1]), expected(1, 5, [2, 1])]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), wanted, rtol=1e-4)


def test_rows_without_a_text_cost_nothing() -> None:
    loss = TranscriptLoss(reduction="mean_with_sample_weight")
    logits = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    targets = np.array([[5, 2, 1], [5, 0, 0]])
    alone = TranscriptLoss()(targets[:1], logits[:1])
    both = loss(targets, logits, sample_weight=np.array([1, 0], np.float32))
    np.testing.assert_allclose(float(both), float(alone), rtol=1e-5)
    assert float(loss(targets, logits, sample_weight=np.zeros(2, np.float32))) == 0


def test_labels_are_what_the_manifest_has(manifest: Path, tmp_path: Path) -> None:
    corpus = load_corpus(read_manifest(manifest, "train"), tmp_path)
    columns = read_columns(manifest)
    labels = labels_of(corpus, columns, 64, 40)
    assert sorted(labels.alphabet.characters) == list(" aeiou")
    assert labels.emotions == ("glad", "sad")
    for place, name in enumerate(corpus.utterance_ids):
        text, mood = columns[name]["text"], columns[name]["emotion"]
        found = labels.texts[place]
        assert (labels.alphabet.decode(found) if found else None) == (None if text in ("", "12") else text)
        assert labels.feelings[place] == {"": -1, "glad": 0, "sad": 1}[mood]
    assert not any(labels_of(corpus, columns, 64, 40, glossed=["made"]).texts)
    short = labels_of(corpus, columns, 64, longest=2).texts
    assert {len(text) for text in short if text} == {2}


def test_tasks_are_those_with_labels_and_a_weight(manifest: Path, tmp_path: Path) -> None:
    corpus = load_corpus(read_manifest(manifest, "train"), tmp_path)
    labels = labels_of(corpus, read_columns(manifest), 64, 40)
    speakers = len(corpus.speaker_ids)
    assert tasks(labels, Options()) == {"recognition": 7, "speaker": speakers, "emotion": 2}
    assert tasks(labels, Options(recognition=0, emotion=0)) == {"speaker": speakers}
    assert tasks(labels_of(corpus, {}, 64, 40), Options()) == {"speaker": speakers}


def test_a_batch_holds_whole_recordings_and_says_what_is_known(manifest: Path, tmp_path: Path) -> None:
    corpus, columns = load_corpus(read_manifest(manifest, "train"), tmp_path), read_columns(manifest)
    labels = labels_of(corpus, columns, 64, 40)
    crops = Crops(corpus, None, 0.6)  # "oi" fits, the longer texts do not
    every = ("recognition", "speaker", "emotion")
    batches = SentenceBatches(crops, Balance(), 64, 1, labels=labels, tasks=every)
    waveforms, targets, weights = batches[0]
    assert waveforms.shape == (64, 9600)
    assert list(targets) == list(weights) == list(every)
    assert weights["speaker"].all()
    known = weights["recognition"] == 1
    assert 0.4 < known.mean() < 0.9
    assert (targets["recognition"][known, 0] == steps_of(2 * 2560)).all()
    assert {labels.alphabet.decode(row[1:]) for row in targets["recognition"][known]} == {"oi"}
    assert not targets["recognition"][~known, 1:].any()
    for waveform in waveforms[known]:
        assert np.array_equal(waveform, np.resize(waveform[: 2 * 2560], 9600))
    assert 0 < weights["emotion"].mean() < 1


def test_character_errors_count_what_the_recogniser_says(manifest: Path, tmp_path: Path) -> None:
    corpus, columns = load_corpus(read_manifest(manifest, "train"), tmp_path), read_columns(manifest)
    labels = labels_of(corpus, columns, 64, 40)
    wanted = labels.alphabet.encode("oi")
    assert wanted is not None
    # Says "oi" to everything: o for ten steps, then a blank, then i.
    spelled = np.repeat(keras.ops.one_hot([wanted[0], 0, wanted[1]], 7), 10, axis=0)[None]
    waveform = keras.Input((None,))
    steps = keras.layers.Lambda(lambda x: keras.ops.tile(spelled, (keras.ops.shape(x)[0], 1, 1)))(waveform)
    length = 2 * 2560
    callback = CharacterErrors(keras.Model(waveform, steps), corpus, labels, length, every=2)
    callback.set_params({"epochs": 3})
    assert set(callback.wanted) == {"oi"}
    callback.steps = np.full(len(callback.wanted), 30, np.int32)
    logs: list[dict[str, float]] = [{}, {}, {}]
    for epoch, log in enumerate(logs):
        callback.on_epoch_end(epoch, log)
    assert logs == [{}, {"character_error_rate": 0.0}, {"character_error_rate": 0.0}]
    callback.wanted = ["oo"] * len(callback.wanted)
    callback.on_epoch_end(2, logs[0])
    assert logs[0]["character_error_rate"] == 0.5


def test_all_tasks_are_learnt_where_the_manifest_has_them(
    learn: Learn, manifest: Path, tmp_path: Path
) -> None:
    small = {"held_out": 0.3, "glossed": ()}
    learnt = learn("sentences", options=small, manifest=manifest, steps=14, epochs=3, batch=12)
    first, last = learnt.history[0], learnt.history[-1]
    for name in ("loss", "recognition_loss", "speaker_loss", "emotion_loss"):
        assert float(last[name]) < float(first[name]), name
    assert float(last["speaker_accuracy"]) > float(first["speaker_accuracy"])
    assert 0 < float(last["emotion_accuracy"]) <= 1
    assert float(last["character_error_rate"]) > 0
    stage = learnt.run / "stage1-multitask"
    told = json.loads((stage / "tasks.json").read_text(encoding="utf-8"))
    assert told["emotions"] == ["glad", "sad"]
    assert set(told["tasks"]) == {"recognition", "speaker", "emotion"}
    network = keras.saving.load_model(stage / "training.keras")
    assert {"recognition_loss", "emotion_accuracy"} <= set(first)
    sound = np.random.default_rng(0).normal(0, 0.1, (2, 9000)).astype(np.float32)
    resumed, kept = branch_of(network), keras.saving.load_model(stage / "branch.keras")
    np.testing.assert_allclose(resumed.predict_on_batch(sound), kept.predict_on_batch(sound), atol=1e-5)
    assert learnt.export(tmp_path / "model").dim == 24


def test_speakers_alone_are_learnt_where_the_manifest_says_nothing_else(learn: Learn) -> None:
    learnt = learn("sentences", options={"held_out": 0.0}, steps=12)
    assert learnt.losses[-1] < learnt.losses[0]
    assert learnt.eer < 50
    assert "recognition_loss" not in learnt.history[0]
    assert json.loads((learnt.run / "stage1-multitask/tasks.json").read_text())["tasks"] == {"speaker": 5}


def test_an_embedding_that_nothing_teaches_is_refused(learn: Learn) -> None:
    with pytest.raises(ValueError, match="neither"):
        learn("sentences", options={"speaker": 0.0})
