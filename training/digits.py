"""The model that hears digits: a small convolutional network under CTC, from speech to training to export.

    python -m training.digits prepare --corpus utterances.csv --noises noise.csv --pool runs/digits/pool.npz
    python -m training.digits train   --pool runs/digits/pool.npz --run runs/digits
    python -m training.digits export  --run runs/digits --out models/digits-1
    python -m training.digit_trials   --model models/digits-1 --corpus utterances.csv --write

`prepare` needs espeak-ng, `export` the TensorFlow backend of Keras; `train` is fastest on JAX, whose CTC loss
takes time in proportion to the text. The recipe is training/recipes/digits/digits-1.toml.

Digits are few and their speakers fewer, so the network learns two things at once over one encoder: the
digits, with one more token for everything else that is said, and the phonemes of whatever is said, which
thousands of sentences of many speakers teach. Only the first head is exported. What is heard ends at
3.8 kHz, so that telephone lines are nothing special.
"""

import argparse
import os
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import librosa
import numpy as np
from keras import layers

from app.arrays import SAMPLE_RATE_HZ
from app.digits import DigitHearer
from app.digits.alignment import TOKENS
from app.digits.hearer import RULE, summary, write_threshold
from app.embedder import Manifest
from app.embedder.golden import write_golden
from training.augment import AugmentConfig
from training.digit_pool import Material, Mixture, PoolBatches, write_pool
from training.export import LENGTHS, ExportFailed, convert, new_manifest, trace
from training.frontend import SpecAugment
from training.methods.multitask import TranscriptLoss
from training.network import convolution
from training.onnx_files import described, save_with_metadata
from training.recipe import built
from training.recordings import read_speech
from training.signals import speech_like
from training.spectra import Framing, LogMel

_PROVISIONAL: Final = -0.5
"""Threshold of a model that was not measured yet."""
_FARTHEST: Final = 1e-3
"""Most by which a log-probability of ONNX Runtime may differ from Keras's."""


@dataclass(frozen=True)
class DigitRecipe:
    """Which speech, and how it is learnt."""

    mixture: Mixture = field(default_factory=Mixture)
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(simulated_rooms=20))
    bands: int = 32
    """Mel bands, from 100 to 3,800 Hz."""
    channels: int = 88
    """Width of the convolutions."""
    dilations: tuple[int, ...] = (1, 2, 3, 4, 6)
    """One residual block each."""
    phones: float = 0.5
    """Weight of the phonemes beside the digits."""
    epochs: int = 12
    batch: int = 48
    peak_rate: float = 2e-3
    """Highest learning rate."""
    seed: int = 1
    notes: str = ""
    """What the recipe is for."""


def read_recipe(path: Path) -> DigitRecipe:
    """Reads a recipe.

    Raises:
        ValueError: It names something unknown.
    """
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    for name, kind in (("mixture", Mixture), ("augment", AugmentConfig)):
        values[name] = built(kind, values.get(name, {}), f"{path} [{name}]")
    recipe: DigitRecipe = built(DigitRecipe, values, str(path))
    return recipe


class _Narrow(Framing):
    """The same frames, of which only the lower frequencies are computed."""

    @property
    def bins(self) -> int:
        return 124


@keras.saving.register_keras_serializable("timbre")
class TelephoneMel(LogMel):
    """Log-mel spectrogram of what a telephone line carries: bands from 100 to 3,800 Hz."""

    def __init__(self, bands: int = 32, **kwargs: Any) -> None:
        super().__init__(bands, **kwargs)
        full, wide = self.framing.bins, self.framing
        self.framing = _Narrow(wide.window, wide.hop, wide.fft)
        bins = self.framing.bins
        filters = librosa.filters.mel(
            sr=self.rate_hz, n_fft=wide.fft, n_mels=bands, fmin=100.0, fmax=3800.0, dtype=np.float32
        )
        self.mel = np.ascontiguousarray(filters.T[:bins])
        self.fourier = np.concatenate(
            [self.fourier[..., :bins], self.fourier[..., full : full + bins]], axis=-1
        )


def build_encoder(recipe: DigitRecipe) -> keras.Model:
    """Frames (batch, frames, bands) → (batch, frames / 2, channels); each sees about 0.8 s around it."""
    frames = keras.Input((None, recipe.bands), name="frames", dtype="float32")
    x = SpecAugment(6, 12, name="spec_augment")(frames)
    x = layers.ReLU()(convolution(x, recipe.channels, 5, "stem", strides=2))
    for number, dilation in enumerate(recipe.dilations, 1):
        y = layers.ReLU()(convolution(x, recipe.channels, 3, f"block{number}", dilation=dilation))
        x = layers.Add()([x, layers.Dropout(0.1)(y)])
    return keras.Model(frames, x, name="encoder")


def build_learner(recipe: DigitRecipe, phones: int) -> keras.Model:
    """What is trained: frames → logits of `digits` (TOKENS) and of `phones` (and their blank)."""
    encoder = build_encoder(recipe)
    heads = {"digits": TOKENS, "phones": 1 + phones}
    outputs = {name: layers.Dense(size, name=name)(encoder.output) for name, size in heads.items()}
    return keras.Model(encoder.input, outputs, name="digit_learner")


def build_hearer(learner: keras.Model, bands: int) -> keras.Model:
    """What is exported: waveform (batch, samples) → log-probabilities (batch, frames, TOKENS)."""
    waveform = keras.Input((None,), name="waveform", dtype="float32")
    digits = keras.Model(learner.input, learner.get_layer("digits").output)
    tokens = digits(TelephoneMel(bands, name="telephone_mel")(waveform))
    return keras.Model(waveform, layers.Activation("log_softmax", name="tokens")(tokens), name="digits")


def train(pool: Path, recipe: DigitRecipe, run: Path) -> None:
    """Trains on a pool and leaves learner.keras, after each epoch, in the folder of the run."""
    keras.utils.set_random_seed(recipe.seed)
    batches = PoolBatches(pool, recipe.batch, recipe.seed)
    learner = build_learner(recipe, batches.phones)
    total = len(batches) * recipe.epochs
    rate = keras.optimizers.schedules.CosineDecay(
        recipe.peak_rate / 20, total, alpha=1e-3, warmup_target=recipe.peak_rate, warmup_steps=total // 12
    )
    learner.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-3, clipnorm=5.0),
        {name: TranscriptLoss(reduction="mean_with_sample_weight") for name in ("digits", "phones")},
        loss_weights={"digits": 1.0, "phones": recipe.phones},
    )
    run.mkdir(parents=True, exist_ok=True)
    save = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: learner.save(run / "learner.keras"))
    learner.fit(batches, epochs=recipe.epochs, verbose=2, callbacks=[save])


def export(
    learner: keras.Model, bands: int, folder: Path, manifest: Manifest, golden_audio: Path
) -> Manifest:
    """Writes a model folder that the service takes, with a threshold that waits for its measurement.

    Args:
        learner: What was trained.
        bands: Mel bands of its front end.
        folder: The model's folder.
        manifest: What to say of the model; `files` and `dim` are filled in here.
        golden_audio: Folder of recordings for the golden vectors, beside synthetic ones.

    Returns:
        The manifest as written.

    Raises:
        ExportFailed: ONNX Runtime does not give what Keras gives.
        ModelInvalid: The folder would be refused by the service.
    """
    manifest = replace(manifest, dim=TOKENS)
    traced = trace(build_hearer(learner, bands), "tokens")
    waveforms = [speech_like(length / SAMPLE_RATE_HZ, speaker=n) for n, length in enumerate(LENGTHS[:7])]
    waveforms += read_speech(golden_audio, 2, 2.0)
    expected = [traced(waveform[None])["tokens"].numpy()[0] for waveform in waveforms]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as place:
        new = Path(place)
        save_with_metadata(convert(traced), new / "model.onnx", manifest.metadata_text())
        manifest = replace(manifest, files=(described(new, "fp32"),))
        write_golden(new, waveforms, np.stack([summary(frames) for frames in expected]))
        write_threshold(new, manifest, _PROVISIONAL, {})
        hearer = DigitHearer.load(new, provider="cpu")
        for waveform, frames in zip(waveforms, expected, strict=True):
            found = hearer.frames(waveform)
            if found.shape != frames.shape or not np.allclose(found, frames, atol=_FARTHEST):
                raise ExportFailed(f"Keras and ONNX Runtime differ at {len(waveform)} samples")
        hearer.close()
        folder.mkdir(exist_ok=True)
        for path in new.iterdir():
            path.replace(folder / path.name)
    return manifest


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.digits",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("step", choices=("prepare", "train", "export"))
    parser.add_argument("--recipe", type=Path, default=Path("training/recipes/digits/digits-1.toml"))
    parser.add_argument("--corpus", type=Path, help="prepare: manifest CSV with the column text")
    parser.add_argument("--noises", type=Path, help="prepare: CSV of noises and responses")
    parser.add_argument("--pool", type=Path, default=Path("runs/digits/pool.npz"))
    parser.add_argument("--run", type=Path, default=Path("runs/digits"))
    parser.add_argument("--out", type=Path, default=Path("models/digits-1"))
    parser.add_argument("--version", default="1.0.0", help="export: version in the manifest")
    parser.add_argument("--golden-audio", type=Path, default=Path("tests/data"))
    args = parser.parse_args(arguments)
    recipe = read_recipe(args.recipe)
    if args.step == "prepare":
        if args.corpus is None:
            parser.error("prepare needs --corpus")
        material = Material(args.corpus, args.noises, recipe.augment, recipe.seed)
        print(f"{args.pool}: {write_pool(material, recipe.mixture, TelephoneMel(recipe.bands), args.pool)}")
    elif args.step == "train":
        train(args.pool, recipe, args.run)
    else:
        manifest = new_manifest(args.out.name, str(args.recipe), version=args.version, min_speech_s=0.6)
        learner = keras.saving.load_model(args.run / "learner.keras", compile=False)
        written = export(learner, recipe.bands, args.out, manifest, args.golden_audio)
        size = (args.out / "model.onnx").stat().st_size / 1e6
        print(f"{args.out}: {written.model_id}, {size:.2f} MB; {RULE} waits for training.digit_trials")
    return 0


if __name__ == "__main__":
    sys.exit(main())
