from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.methods.conftest import RECIPES, Learn
from training.corpus import load_corpus, read_manifest
from training.method import Task
from training.methods.transformation import METHOD, transformed
from training.pairs import Crops
from training.recipe import read_recipe

pytestmark = pytest.mark.timeout(600)


def test_a_tone_is_mirrored_in_frequency() -> None:
    samples = np.arange(16000)
    tone = np.sin(2 * np.pi * 1000 * samples / 16000).astype(np.float32)
    for way, hz in ((0, 1000), (1, 1000), (2, 7000), (3, 7000)):
        assert np.abs(np.fft.rfft(transformed(tone, way))).argmax() == hz


def test_the_ways_are_a_group_in_which_each_undoes_itself() -> None:
    waveform = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(transformed(waveform, 1), waveform[::-1])
    for way in range(4):
        twice = transformed(transformed(waveform, way), way)
        # After an even number of samples a reversed waveform is mirrored with the other sign.
        np.testing.assert_array_equal(np.abs(twice), np.abs(waveform))
        assert np.array_equal(twice, waveform if way < 3 else -waveform)
        assert transformed(waveform, way).dtype == np.float32


def test_each_speed_makes_four_classes(miniature: Path, tmp_path: Path) -> None:
    corpus = load_corpus(read_manifest(miniature / "utterances.csv", "train"), tmp_path)
    recipe = read_recipe(RECIPES / "transformation.toml")
    stage = replace(recipe.stage[0], speeds=(0.9, 1.0, 1.1), batch=64, crop_s=0.5)
    task = Task(recipe, stage, corpus, Crops(corpus, None, stage.crop_s, stage.speeds), {})
    waveforms, classes = METHOD.batches(task, seed=1)[0]
    assert waveforms.shape == (64, 8000)
    assert waveforms.dtype == np.float32
    assert set(classes) == set(range(12))
    assert METHOD.learning(METHOD.branch(recipe, stage.options), task).network.output_shape == (None, 12)


def test_what_was_done_to_a_crop_is_told(learn: Learn, tmp_path: Path) -> None:
    learnt = learn("transformation", steps=10)
    assert learnt.losses[-1] < learnt.losses[0]
    accuracies = [float(row["accuracy"]) for row in learnt.history]
    assert accuracies[-1] > max(accuracies[0], 0.3)
    assert learnt.eer < 50
    assert learnt.export(tmp_path / "model").dim == 24
