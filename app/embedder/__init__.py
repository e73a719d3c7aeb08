"""Waveform → embedding: owns the ONNX session, the manifest of the model and the queue before it."""

from app.embedder.choice import Choice
from app.embedder.embedder import Embedder
from app.embedder.manifest import (
    CALIBRATION,
    METADATA_KEY,
    Manifest,
    ModelFile,
    Precision,
    file_bytes,
    pin_calibration,
    read_manifest,
    sha256_of,
    sha256_of_bytes,
)

__all__ = [
    "CALIBRATION",
    "METADATA_KEY",
    "Choice",
    "Embedder",
    "Manifest",
    "ModelFile",
    "Precision",
    "file_bytes",
    "pin_calibration",
    "read_manifest",
    "sha256_of",
    "sha256_of_bytes",
]
