"""From a training run to a model folder: the embedding network alone, as ONNX, with all that proves it right.

    python -m training.export --run runs/timbre-2 --name timbre-2 --out models/

Writes model.onnx (front end inside, free batch and time axes), manifest.json and golden.npz, and leaves
nothing behind unless ONNX Runtime gives what Keras gives, at awkward lengths, whatever else is in the batch.
Needs the TensorFlow backend of Keras; weights trained on another backend load into it.

The graph is what tf2onnx makes of it. Writing its convolutions as one-dimensional and its dense layers as one
product each halved the operators and won nothing: 14.9 ms against 14.2 for 3 s on one core.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import onnx
import onnxruntime as ort

from app.arrays import SAMPLE_RATE_HZ, Embeddings, Waveform
from app.embedder import Embedder, Manifest
from app.embedder.golden import write_golden
from training.frontend import WINDOW
from training.methods import load_network
from training.onnx_files import FILE_NAMES, described, save_with_metadata
from training.recordings import read_speech
from training.signals import speech_like

OPSET = 18
LEAST_COSINE = 0.9999
"""Cosine between Keras and ONNX Runtime: the same float32 arithmetic in another order."""
LENGTHS = (WINDOW, WINDOW + 1, WINDOW + 159, WINDOW + 160, WINDOW + 161, 8005, 16_000, 27_001, 48_000)
"""Awkward lengths, in samples: one window and one hop, and around them."""
_GOLDEN_CLIPS, _GOLDEN_S = 4, 2.5

Network = Callable[[Embeddings], Embeddings]
"""float32 waveforms (batch, samples) → float32 embeddings (batch, dim)."""


class ExportFailed(Exception):
    """The exported graph is not what was trained."""


def export_model(network: Any, folder: Path, manifest: Manifest, clips: Sequence[Waveform] = ()) -> Manifest:
    """Write a model folder, checked from end to end.

    Args:
        network: keras.Model from float32 waveforms (batch, samples) to unit-length embeddings (batch, dim).
        folder: The model's folder; what an earlier model left in it (int8 file, calibration) is removed.
        manifest: What to say of the model; `files` and `dim` are filled in here.
        clips: Recordings for the golden vectors, beside the synthetic ones; float32 at 16 kHz.

    Returns:
        The manifest as written.

    Raises:
        ExportFailed: The graph differs from the network, or its rows depend on each other.
        ModelInvalid: The folder would be refused by the service.
    """
    traced = trace(network)
    run_keras, model = runner(traced), convert(traced)
    waveforms = [speech_like(length / SAMPLE_RATE_HZ, speaker=n) for n, length in enumerate(LENGTHS)] + list(
        clips
    )
    golden = np.concatenate([run_keras(waveform[None]) for waveform in waveforms])
    manifest = replace(manifest, dim=golden.shape[1])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as place:
        new = Path(place)
        save_with_metadata(model, new / "model.onnx", manifest.metadata_text())
        manifest = replace(manifest, files=(described(new, "fp32"),))
        manifest.write(new)
        write_golden(new, waveforms, golden)
        check_graph(new / "model.onnx", run_keras)
        Embedder.load(new, provider="cpu").close()
        folder.mkdir(exist_ok=True)
        for stale in (FILE_NAMES["int8"], "calibration.json"):
            (folder / stale).unlink(missing_ok=True)
        for path in new.iterdir():
            path.replace(folder / path.name)
    return manifest


def trace(network: Any, output: str = "embedding") -> Any:
    """Turn a Keras model into a TensorFlow function with free batch and time axes.

    Args:
        network: keras.Model, waveforms (batch, samples) → embeddings (batch, dim), or another output.
        output: Name of what it gives.

    Returns:
        tf.function, waveform → {output: …}.

    Raises:
        ExportFailed: Keras runs on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ExportFailed("export needs KERAS_BACKEND=tensorflow; JAX cannot keep the time axis free")
    import tensorflow as tf  # here and not above: other backends run without it

    return tf.function(
        lambda waveform: {output: network(waveform, training=False)},
        input_signature=[tf.TensorSpec([None, None], tf.float32, name="waveform")],
    )


def runner(traced: Any) -> Network:
    """The traced network as a function over NumPy arrays."""
    return lambda waveforms: traced(waveforms)["embedding"].numpy()


def convert(traced: Any) -> onnx.ModelProto:
    """Turn a traced network into ONNX: `waveform` → `embedding`, axes `batch` and `samples` free."""
    import tf2onnx

    model: onnx.ModelProto
    model, _ = tf2onnx.convert.from_function(traced, input_signature=traced.input_signature, opset=OPSET)
    for item, names in ((model.graph.input[0], ("batch", "samples")), (model.graph.output[0], ("batch",))):
        for axis, name in zip(item.type.tensor_type.shape.dim, names, strict=False):
            axis.dim_param = name
    onnx.checker.check_model(model, full_check=True)
    return model


def check_graph(path: Path, run_keras: Network) -> None:
    """Compare an ONNX file with the network, value by value.

    Args:
        path: The ONNX file.
        run_keras: The network.

    Raises:
        ExportFailed: A length at which they differ, a row that depends on its neighbours, or silence or noise
            whose embedding has no unit length.
    """
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(waveforms: Embeddings) -> Embeddings:
        found: Embeddings = session.run(["embedding"], {"waveform": waveforms})[0]
        return found

    noise = np.random.default_rng(0)
    for length in LENGTHS:
        speech = speech_like(length / SAMPLE_RATE_HZ, speaker=99)
        hiss = noise.uniform(-1, 1, length).astype(np.float32)
        batch = np.stack([speech, hiss, np.zeros(length, np.float32), 1e-4 * speech])
        together, expected = run(batch), run_keras(batch)
        if not np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-4):
            raise ExportFailed(f"an embedding of {length} samples has no unit length")
        cosine = float(np.min(np.sum(together * expected, axis=1)))
        if not cosine >= LEAST_COSINE:
            raise ExportFailed(f"Keras and ONNX Runtime differ at {length} samples: cosine {cosine:.6f}")
        alone = np.concatenate([run(row[None]) for row in batch])
        if not np.allclose(alone, together, atol=1e-4):
            raise ExportFailed(f"at {length} samples an embedding depends on what else is in its batch")


def current_commit() -> str:
    """Commit of the working tree, with `-dirty` behind it when something is not committed; else `unknown`."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or "unknown"
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def new_manifest(
    name: str,
    recipe: str,
    *,
    version: str = "1.0.0",
    corpus: str = "see MODEL_CARD.md",
    min_speech_s: float = 0.6,
) -> Manifest:
    """What to say of a model of this training package; the fields are those of `Manifest`."""
    return Manifest(
        name=name,
        version=version,
        files=(),
        sample_rate_hz=SAMPLE_RATE_HZ,
        dim=0,
        window_samples=WINDOW,
        min_speech_s=min_speech_s,
        input="waveform",
        recipe=recipe,
        corpus=corpus,
        commit=current_commit(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.export",
        description="Export the embedding network of a training run as a model folder for the service.",
    )
    parser.add_argument(
        "--run", type=Path, required=True, help="folder of the run; its branch.keras is exported"
    )
    parser.add_argument("--weights", default="branch.keras", help="file inside --run (default: %(default)s)")
    parser.add_argument("--name", required=True, help="name of the model and of its folder, e.g. timbre-2")
    parser.add_argument(
        "--out", type=Path, default=Path("models"), help="where it goes (default: %(default)s)"
    )
    parser.add_argument("--version", default="1.0.0", help="version in the manifest (default: %(default)s)")
    parser.add_argument("--recipe", help="recipe in the manifest (default: the run's recipe.json)")
    parser.add_argument(
        "--corpus", default="see MODEL_CARD.md", help="corpus in the manifest (default: %(default)s)"
    )
    parser.add_argument(
        "--min-speech",
        type=float,
        default=0.6,
        metavar="S",
        help="least speech in seconds (default: %(default)s)",
    )
    parser.add_argument(
        "--golden-audio",
        type=Path,
        default=Path("tests/data"),
        help="recordings for golden vectors, beside synthetic ones (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    weights = options.run / options.weights
    if not weights.is_file():
        parser.error(f"{weights} does not exist; has the run ended?")
    manifest = new_manifest(
        options.name,
        options.recipe or f"{options.run.name}/recipe.json",
        version=options.version,
        corpus=options.corpus,
        min_speech_s=options.min_speech,
    )
    folder = options.out / options.name
    try:
        written = export_model(
            load_network(weights),
            folder,
            manifest,
            read_speech(options.golden_audio, _GOLDEN_CLIPS, _GOLDEN_S),
        )
    except ExportFailed as error:
        print(f"Nothing was written: {error}.", file=sys.stderr)
        return 1
    size = (folder / "model.onnx").stat().st_size / 1e6
    print(f"{folder}: {written.model_id}, {written.dim} numbers per embedding, {size:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
