"""Waveform → embedding: owns the ONNX session, the manifest of the model and the queue before it."""

from app.embedder.choice import Choice
from app.embedder.embedder import Embedder
from app.embedder.manifest import METADATA_KEY, Manifest, ModelFile, Precision, read_manifest, sha256_of

__all__ = [
    "METADATA_KEY",
    "Choice",
    "Embedder",
    "Manifest",
    "ModelFile",
    "Precision",
    "read_manifest",
    "sha256_of",
]
