"""The classifier in miniature: which of two tones is in the recording, whoever speaks."""

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.training.methods.conftest import RECIPES, Learn
from training.corpus import corpus_of, load_corpus, place_of, read_manifest
from training.groups import read_columns
from training.method import Task
from training.methods.classifier import METHOD, ClassBatches, Options, labelled
from training.pairs import Balance, Crops
from training.recipe import Recipe, Stage, read_recipe
from training.signals import speech_like
from training.streaming import ShardedCrops

pytestmark = pytest.mark.timeout(600)

TONES = {"low": 400.0, "high": 2500.0}


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of ten speakers; its column says which tone a recording has, and one has none."""
    root = tmp_path_factory.mktemp("tones")
    rows = []
    for speaker, (text, hertz), take in itertools.product(range(10), TONES.items(), range(2)):
        name = f"t{speaker}-{text}-{take}"
        voice = speech_like(0.8, speaker=speaker, take=take)
        tone = np.sin(2 * np.pi * hertz * np.arange(len(voice)) / 16_000)
        soundfile.write(root / f"{name}.flac", 0.6 * voice + 0.2 * tone, 16_000)
        rows.append(
            {
                "utterance_id": name,
                "speaker_id": f"t{speaker}",
                "path": f"{name}.flac",
                "set": "speech_commands",
                "split": "train",
                "text": text,
            }
        )
    rows[0]["text"], rows[1]["text"] = "", "said once"
    with (root / "tones.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root / "tones.csv"


def task_of(manifest: Path, cache: Path, **options: object) -> Task:
    corpus = load_corpus(read_manifest(manifest), cache)
    stage = Stage("classifier", epochs=1, batch=16, steps=2, options=Options(**options))  # type: ignore[arg-type]
    crops = Crops(corpus, None, 0.5, (1.0, 0.9))
    return Task(Recipe((stage,)), stage, corpus, crops, read_columns(manifest))


def test_speakers_are_on_one_side_and_classes_on_both(tones: Path, tmp_path: Path) -> None:
    task = task_of(tones, tmp_path, least_speakers=5, held_out=0.4)
    found = labelled(task)
    assert found.classes == ["high", "low"]
    assert task.corpus is not None
    names, who = np.array(task.corpus.utterance_ids), np.array(task.corpus.speaker_ids)[task.corpus.speakers]
    assert all(place_of(name) < 0.6 for name in who[found.recordings])
    assert all(place_of(name) >= 0.6 for name in who[found.held_out])
    for numbers, labels in ((found.recordings, found.labels), (found.held_out, found.held_out_labels)):
        assert [name.split("-")[1] for name in names[numbers]] == [found.classes[label] for label in labels]
    # All but the recording without a word and the one whose word nobody else says.
    assert len(found.recordings) + len(found.held_out) == len(names) - 2


@pytest.mark.parametrize(
    "options", [{"least_speakers": 11}, {"column": "language"}, {"sets": ("elsewhere",)}, {"held_out": 0.0}]
)
def test_nothing_to_tell_apart_is_an_error(tones: Path, tmp_path: Path, options: dict[str, object]) -> None:
    task = task_of(tones, tmp_path, **({"least_speakers": 5, "held_out": 0.4} | options))
    with pytest.raises(ValueError, match="nothing to tell apart"):
        labelled(task)


def test_a_stream_of_shards_is_refused(tones: Path, tmp_path: Path) -> None:
    task = task_of(tones, tmp_path)
    shards = ShardedCrops.__new__(ShardedCrops)
    with pytest.raises(ValueError, match="stream of shards"):
        labelled(replace(task, crops=shards))


def test_a_rare_class_is_drawn_as_often_as_its_power_says() -> None:
    rows = [(f"u{n}", f"s{n}", "set", 8000) for n in range(100)]
    corpus = corpus_of(np.ones(800_000, np.int16), rows)
    columns = {f"u{n}": {"text": "rare" if n % 10 == 0 else "common"} for n in range(100)}
    for power in (1.0, 0.5, 0.0):
        stage = Stage("classifier", 1, batch=2000, options=Options(least_speakers=1))
        task = Task(Recipe((stage,)), stage, corpus, Crops(corpus, None, 0.05), columns)
        labels = labelled(task)
        common, rare = np.bincount(labels.labels) ** power
        batches = ClassBatches(labels, power, task.crops, Balance(), 2000, 1, seed=4)
        waveforms, drawn = batches[0]
        assert waveforms.shape == (2000, 800)
        assert np.mean(drawn == 1) == pytest.approx(rare / (common + rare), abs=0.03)


@pytest.mark.parametrize(("name", "head"), [("commands-cnn", "attention"), ("language-cnn", "gru")])
def test_the_recipe_in_miniature(name: str, head: str, tones: Path, learn: Learn, tmp_path: Path) -> None:
    learnt = learn(
        name,
        manifest=tones,
        steps=20,
        batch=16,
        crop_s=0.6,
        options={
            "column": "text",
            "sets": (),
            "head": head,
            "least_speakers": 5,
            "held_out": 0.4,
            "test_s": 0.8,
            "channels": (8, 12, 16),
            "width": 24,
            "dim": 16,
        },
    )
    assert learnt.losses[-1] < 0.7 * learnt.losses[0]
    assert learnt.eer < 50
    figures = json.loads((learnt.run / "stage1-classifier/classes.json").read_text())
    assert figures["accuracy"] > 0.8
    assert figures["chance"] < 0.6
    assert figures["accuracy"] == pytest.approx(float(learnt.history[-1]["held_out_accuracy"]))
    assert learnt.export(tmp_path / "model").dim == 16


@pytest.mark.parametrize("kind", ["spectrogram", "mfcc", "plp"])
def test_any_front_end_may_be_named(kind: str) -> None:
    recipe = read_recipe(RECIPES / "commands-cnn.toml", [f"front_end.kind={kind}"])
    branch = METHOD.branch(recipe, recipe.stage[0].options)
    assert branch.get_layer(kind) is branch.layers[1]
    embedding = np.asarray(branch(speech_like(0.3)[None], training=False))
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-4)
