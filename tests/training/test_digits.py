"""Training of the digit model: what is said, the front end, batches, trials; all of it once in miniature."""

import csv
import shutil
from itertools import pairwise
from pathlib import Path

import keras
import librosa
import numpy as np
import pytest
import soundfile

from app.arrays import SAMPLE_RATE_HZ
from app.digits import DigitHearer
from app.digits.alignment import FIRST, OTHER, TOKENS
from tests.spoken_digits import spoken
from training import digit_trials, digits
from training.augment import AugmentConfig
from training.digit_pool import Material, Mixture, PoolBatches, steps_of, write_pool
from training.digit_speech import KEPT_VARIANTS, WORDS, Said, put_together, read_said, synthetic
from training.digit_trials import Trial, another, choose_threshold, drawn, figures, one_changed
from training.export import new_manifest
from training.signals import speech_like
from training.spectra import HOP, WINDOW

RECIPE = Path(__file__).parents[2] / "training/recipes/digits/digits-1.toml"
ESPEAK = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def said(words: str, speaker: str = "a") -> Said:
    return Said(speech_like(0.5), tuple(words.split()), speaker, "fsdd")


# ---------------------------------------------------------------- what is said


@pytest.mark.parametrize(
    ("words", "tokens", "found"),
    [
        ("three three six", [FIRST + 3, FIRST + 3, FIRST + 6], (3, 3, 6)),
        ("call this one in now", [OTHER, FIRST + 1, OTHER], None),
        ("the kettle whistles", [OTHER], None),
        ("four boats for two", [], None),
        ("", [], None),
    ],
)
def test_words_become_digits_and_one_token_for_each_run_of_others(
    words: str, tokens: list[int], found: tuple[int, ...] | None
) -> None:
    assert list(said(words).tokens) == tokens
    assert said(words).digits == found


def write_corpus(folder: Path) -> Path:
    """Manifest and recordings: spoken digits under the names of the real sets."""
    rows = []

    def add(name: str, speaker: str, split: str, text: str, waveform: object) -> None:
        path = f"{name}-{speaker}-{len(rows)}.wav"
        soundfile.write(folder / path, waveform, SAMPLE_RATE_HZ)
        seconds = len(np.asarray(waveform)) / SAMPLE_RATE_HZ
        rows.append([path, speaker, path, name, split, f"{seconds:.2f}", text])

    for n, speaker in enumerate(("f1", "f2", "f3", "f4")):
        for digit, word in enumerate(WORDS):
            add("fsdd", speaker, "train", word, spoken([digit], ("ada", "gus")[n % 2]))
    for split in ("train", "dev"):
        for digit in (0, 9, 5):
            add("speech_commands", f"s-{split}-{digit}", split, WORDS[digit], spoken([digit], "gus"))
        add("speech_commands", f"s-{split}", split, "cat", speech_like(0.6, speaker=2))
        for n in range(3):
            add("speechocean762", f"o-{split}-{n}", split, "four eight one nine", spoken([4, 8, 1, 9]))
            add("speechocean762", f"o-{split}-{n}", split, "the kettle whistles", speech_like(1.5, speaker=n))
    manifest = folder / "utterances.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["utterance_id", "speaker_id", "path", "set", "split", "seconds", "text"])
        writer.writerows(rows)
    return manifest


def test_nobody_is_on_two_sides(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path)
    sets = ("fsdd", "speech_commands", "speechocean762")
    sides = [
        {s.speaker_id for s in read_said(manifest, sets, part, 9.0)} for part in ("train", "aside", "test")
    ]
    assert sides[0].isdisjoint(sides[1] | sides[2])
    assert sides[1].isdisjoint(sides[2])
    assert {"f3", "f4", "o-dev-0"} <= sides[2]
    assert "f2" in sides[1]
    assert "f1" in sides[0]


def test_strings_are_joined_at_one_level() -> None:
    quiet = Said(0.01 * said("one").waveform, ("two",), "a", "fsdd")
    joined = put_together([said("one"), quiet], np.random.default_rng(0))
    assert (joined.words, joined.speaker_id) == (("one", "two"), "a")
    halves = np.array_split(joined.waveform, 2)
    assert 0.3 < np.std(halves[0]) / np.std(halves[1]) < 3
    assert put_together([said("one"), said("two", "b")], np.random.default_rng(0)).speaker_id == ""


@ESPEAK
def test_synthetic_voices_say_what_they_are_told() -> None:
    rng = np.random.default_rng(3)
    short, long = (synthetic(WORDS[:count], rng, kept=True) for count in (2, 8))
    assert short.digits == (0, 1)
    assert len(long.waveform) > 2 * len(short.waveform)
    assert short.speaker_id.split("+")[1] in KEPT_VARIANTS


# ---------------------------------------------------------------- the front end


def test_the_front_end_is_a_mel_spectrogram_of_the_telephone_band() -> None:
    waveform = speech_like(1.0, speaker=4)
    found = np.asarray(digits.TelephoneMel(32)(waveform[None]))[0]
    level = waveform / np.sqrt(np.mean(waveform**2))
    frames = librosa.util.frame(level, frame_length=WINDOW, hop_length=HOP).T * np.hanning(WINDOW + 1)[:-1]
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    mel = librosa.filters.mel(sr=SAMPLE_RATE_HZ, n_fft=512, n_mels=32, fmin=100, fmax=3800)
    expected = np.log(power @ mel.T / 1e-4 + 1)
    assert found == pytest.approx(expected - expected.mean(axis=0), abs=0.02)


# ---------------------------------------------------------------- trials


def test_questions_are_what_they_are_called() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        right = drawn(6, rng)
        assert all(one != other for one, other in pairwise(right))
        assert another(right, rng) != right
        changed = one_changed(right, rng)
        assert sum(one != other for one, other in zip(right, changed, strict=True)) == 1
        assert all(one != other for one, other in pairwise(changed))


def test_the_threshold_misses_what_it_may_and_the_figures_count_it() -> None:
    trials = [Trial("x", str(n), "said", -n / 10) for n in range(100)]
    threshold = choose_threshold(trials, 0.05)
    assert sum(trial.score < threshold for trial in trials) == 5
    trials += [Trial("x", "a", "other", score) for score in (-20.0, -1.0, -9.9)]
    missed, passed = figures(trials, -5.0)
    assert (missed["asked"], missed["trials"], missed["errors"]) == ("said", 100, 49)
    assert (passed["asked"], passed["errors"], passed["rate"]) == ("other", 1, 0.3333)
    assert 0 < passed["interval"][0] < 1 / 3 < passed["interval"][1] < 1


# ---------------------------------------------------------------- all of it in miniature


def test_the_shipped_recipe_is_read() -> None:
    recipe = digits.read_recipe(RECIPE)
    assert recipe == digits.DigitRecipe()


@ESPEAK
def test_from_recordings_to_a_measured_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_corpus(tmp_path)
    recipe = digits.DigitRecipe(channels=8, dilations=(1,), bands=16, epochs=1, batch=4)
    quiet = AugmentConfig(0, 0, 0, 0, 0, 0, simulated_rooms=1)
    material = Material(manifest, None, quiet, seed=1)
    pool, mixture = tmp_path / "pool.npz", Mixture(3, 6, 6, 6, 3)
    made = write_pool(material, mixture, digits.TelephoneMel(recipe.bands), pool)
    assert 16 <= int(made.split()[0]) <= 24, "what is longer than five seconds is left out"
    batches = PoolBatches(pool, recipe.batch, seed=0)
    frames, targets, weights = batches[0]
    assert frames.shape[0] == len(targets["digits"]) == len(weights["phones"]) == recipe.batch
    assert ((targets["digits"][:, 1:] < TOKENS) & (targets["digits"][:, 1:] >= 0)).all()
    digits.train(pool, recipe, tmp_path / "run")
    learner = keras.saving.load_model(tmp_path / "run" / "learner.keras", compile=False)
    folder = tmp_path / "digits-x"
    manifest_of_model = new_manifest("digits-x", "test")
    digits.export(learner, recipe.bands, folder, manifest_of_model, tmp_path / "none")
    hearer = DigitHearer.load(folder, provider="cpu")
    waveform = spoken([1, 2, 3])
    assert hearer.frames(waveform).shape == (steps_of(len(waveform)), TOKENS)
    hearer.close()
    wish = ["--model", str(folder), "--corpus", str(manifest), "--strings", "6", "--write"]
    assert digit_trials.main(wish) == 0
    assert "digits in running speech | said" in capsys.readouterr().out
    assert (folder / "MODEL_CARD.md").read_text().startswith("# Model card")
