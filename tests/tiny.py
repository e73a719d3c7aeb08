"""A tiny speaker model with the whole model contract, made of onnx.helper alone: unit tests start fast on it.

Framing, DFT and band energies as convolutions, log, mean and deviation over time, a projection, unit length:
the shape of the real thing, with statistics of the spectrum in place of a trained network.
"""

import json
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.arrays import Embedding, Waveform
from app.embedder import METADATA_KEY, Manifest, ModelFile, pin_calibration, read_manifest, sha256_of
from app.embedder.golden import write_golden
from app.scoring import FORMAT, ScoreModel
from training.onnx_files import described, save_with_metadata
from training.signals import speech_like

WINDOW, HOP, BINS, BANDS, DIM = 400, 160, 128, 24, 32
FLOOR = 1e-6
Weights = dict[str, npt.NDArray[np.float32]]


def write_tiny_model(folder: Path, name: str = "tiny", seed: int = 0) -> Path:
    """Write model.onnx, manifest.json, golden.npz, calibration.json and MODEL_CARD.md.

    Args:
        folder: The model's own folder, made when missing.
        name: Name in the manifest.
        seed: Another seed gives another model, whose embeddings are not comparable.

    Returns:
        `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fixed = weights(seed)
    manifest = _manifest(name)
    save_model(folder, build_onnx(fixed), manifest)
    golden = [speech_like(s, speaker=i) for i, s in enumerate([WINDOW / 16000, 0.5003, 1.25])]
    write_golden(folder, golden, np.stack([embed_in_numpy(waveform, fixed) for waveform in golden]))
    write_calibration(folder)
    (folder / "MODEL_CARD.md").write_text(f"# {name}\n\nFor tests only.\n", encoding="utf-8")
    return folder


def save_model(folder: Path, model: onnx.ModelProto, manifest: Manifest) -> Manifest:
    """Write `model` with the manifest in its metadata, then the manifest with its hash; return that."""
    del model.metadata_props[:]
    helper.set_model_props(model, {METADATA_KEY: manifest.metadata_text()})
    onnx.save(model, str(folder / "model.onnx"))
    final = manifest.with_file(described(folder, "fp32"))
    final.write(folder)
    return final


def add_int8(folder: Path, model: onnx.ModelProto | None = None) -> ModelFile:
    """Write model.int8.onnx beside the float32 file, for every processor, and name it in the manifest.

    Args:
        folder: The model's folder.
        model: The graph; without it the tiny model with a projection in eight bits.

    Returns:
        What the manifest says of the file.
    """
    manifest = read_manifest(folder)
    graph = model or build_onnx_int8(weights(0))
    save_with_metadata(graph, folder / "model.int8.onnx", manifest.metadata_text())
    entry = replace(described(folder, "int8"), serves=("cpu",))
    manifest.with_file(entry).write(folder)
    return entry


def build_onnx_int8(weights: Weights) -> onnx.ModelProto:
    """The same graph with its projection as int8, one scale for each column."""
    model = build_onnx(weights)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    scale = np.abs(weights["projection"]).max(axis=0) / 127
    rounded = np.round(weights["projection"] / scale).astype(np.int8)
    stored["projection"].CopyFrom(numpy_helper.from_array(rounded, "projection_int8"))
    model.graph.initializer.append(numpy_helper.from_array(scale, "projection_scale"))
    inputs = ["projection_int8", "projection_scale"]
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, ["projection"], axis=1))
    return model


def slowed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same embeddings in about ten times the time; `model` is changed."""
    kernels = np.random.default_rng(1).standard_normal((2048, 1, WINDOW)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(kernels, "kernels"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "nothing"))
    projected = next(node for node in model.graph.node if "projected" in node.output)
    projected.output[0] = "in_time"
    normalisation = model.graph.node.pop()
    model.graph.node.extend(
        [
            helper.make_node("Conv", ["channel", "kernels"], ["work"], strides=[HOP], kernel_shape=[WINDOW]),
            helper.make_node("ReduceMean", ["work"], ["worked"], axes=[1, 2], keepdims=0),
            helper.make_node("Mul", ["worked", "nothing"], ["wasted"]),
            helper.make_node("Unsqueeze", ["wasted", "axis_1"], ["wasted_column"]),
            helper.make_node("Add", ["in_time", "wasted_column"], ["projected"]),
            normalisation,
        ]
    )
    return model


def build_onnx(weights: Weights) -> onnx.ModelProto:
    """The graph: waveform float32 (batch, samples) → embedding float32 (batch, 32), opset 17."""
    nodes = [
        helper.make_node("Unsqueeze", ["waveform", "axis_1"], ["channel"]),
        helper.make_node("Conv", ["channel", "dft"], ["spectrum"], strides=[HOP], kernel_shape=[WINDOW]),
        helper.make_node("Mul", ["spectrum", "spectrum"], ["power"]),
        helper.make_node("Conv", ["power", "bands"], ["energy"], kernel_shape=[1]),
        helper.make_node("Add", ["energy", "floor"], ["floored"]),
        helper.make_node("Log", ["floored"], ["features"]),
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[2], keepdims=1),
        helper.make_node("Sub", ["features", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "centred"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["variance"], axes=[2], keepdims=0),
        helper.make_node("Add", ["variance", "floor"], ["variance_floored"]),
        helper.make_node("Sqrt", ["variance_floored"], ["deviation"]),
        helper.make_node("Squeeze", ["mean", "axis_2"], ["mean_flat"]),
        helper.make_node("Concat", ["mean_flat", "deviation"], ["statistics"], axis=1),
        helper.make_node("Gemm", ["statistics", "projection", "bias"], ["projected"]),
        helper.make_node("LpNormalization", ["projected"], ["embedding"], axis=1, p=2),
    ]
    constants = {"axis_1": np.array([1]), "axis_2": np.array([2]), "floor": np.array(FLOOR, np.float32)}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIM])],
        [numpy_helper.from_array(value, key) for key, value in {**weights, **constants}.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def embed_in_numpy(waveform: Waveform, weights: Weights) -> Embedding:
    """The same arithmetic in float64, float32 shape (32,): what the golden vectors are made with."""
    statistics = _statistics(waveform, weights)
    projected = statistics @ weights["projection"].astype(np.float64) + weights["bias"]
    return (projected / np.linalg.norm(projected)).astype(np.float32)


def write_calibration(folder: Path) -> None:
    """Write calibration.json with round thresholds for synthetic voices; the score is the similarity."""
    points = [(0.001, 0.15, 0.85), (0.01, 0.03, 0.78), (0.05, 0.01, 0.69)]
    calibration = {
        "format": FORMAT,
        "model_sha256": sha256_of(folder / "model.onnx"),
        "source": "synthetic voices",
        "score": asdict(ScoreModel(offset=0.0, similarity=1.0)),
        "trials": {"target": 1000, "impostor": 10000, "speakers": 50},
        "eer": 0.03,
        "cllr": 0.9,
        "min_cllr": 0.1,
        "operating_points": [
            {
                "fmr": fmr,
                "fnmr": fnmr,
                "threshold": threshold,
                "fmr_interval": [fmr / 2, fmr * 2],
                "fnmr_interval": [fnmr / 2, fnmr * 2],
            }
            for fmr, fnmr, threshold in points
        ],
    }
    (folder / "calibration.json").write_text(json.dumps(calibration, indent=2), encoding="utf-8")
    pin_calibration(folder)


def _manifest(name: str) -> Manifest:
    return Manifest(
        name=name,
        version="0.0.1",
        files=(),
        sample_rate_hz=16000,
        dim=DIM,
        window_samples=WINDOW,
        min_speech_s=0.5,
        input="waveform",
        recipe="none",
        corpus="synthetic voices",
        commit="none",
        created_at="2026-01-01T00:00:00Z",
    )


@lru_cache(maxsize=4)
def weights(seed: int) -> Weights:
    """DFT and bands as fixed kernels; a projection fitted on synthetic voices, then turned at random."""
    time, bins = np.arange(WINDOW), np.arange(1, BINS + 1)
    angle = 2 * np.pi * np.outer(bins, time) * (7600 / BINS) / 16000
    dft = np.concatenate([np.cos(angle), np.sin(angle)]) * np.hanning(WINDOW) / np.sqrt(WINDOW)
    edges = np.round(np.geomspace(2, BINS, BANDS + 1)).astype(int)
    bands = np.zeros((BANDS, 2 * BINS))
    for band, (low, high) in enumerate(pairwise(edges)):
        bands[band, np.r_[low - 1 : max(high, low + 1), BINS + low - 1 : BINS + max(high, low + 1)]] = 1.0
    weights = {"dft": dft[:, None, :].astype(np.float32), "bands": bands[:, :, None].astype(np.float32)}
    projection, mean = _separating(weights)
    turned = projection @ np.linalg.qr(np.random.default_rng(seed).normal(size=(DIM, DIM)))[0]
    weights["projection"] = turned.astype(np.float32)
    weights["bias"] = (-mean @ turned).astype(np.float32)
    return weights


def _separating(weights: Weights) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Projection (48, 32) without the level and what differs between takes of one voice; mean (48,)."""
    takes = [[speech_like(1.2, speaker=1000 + voice, take=take) for take in range(2)] for voice in range(24)]
    seen = np.array([[_statistics(waveform, weights) for waveform in voice] for voice in takes])
    level_free = np.eye(2 * BANDS)
    level_free[:BANDS, :BANDS] -= 1.0 / BANDS
    seen = seen @ level_free
    inside = (seen - seen.mean(axis=1, keepdims=True)).reshape(-1, 2 * BANDS)
    whiten = np.linalg.cholesky(np.linalg.inv(inside.T @ inside / len(inside) + 0.05 * np.eye(2 * BANDS)))
    _, vectors = np.linalg.eigh(np.cov((seen.mean(axis=1) @ whiten).T))
    projection = whiten @ vectors[:, -DIM:]
    return level_free @ projection, seen.mean(axis=(0, 1))


def _statistics(waveform: Waveform, weights: Weights) -> npt.NDArray[np.float64]:
    """Mean and deviation over time of the log band energies, shape (48,)."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform.astype(np.float64), WINDOW)[::HOP]
    power = (frames @ weights["dft"][:, 0, :].T.astype(np.float64)) ** 2
    features = np.log(power @ weights["bands"][:, :, 0].T.astype(np.float64) + FLOOR)
    return np.concatenate([features.mean(axis=0), np.sqrt(features.var(axis=0) + FLOOR)])
