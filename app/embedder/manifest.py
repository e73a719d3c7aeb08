"""What a model folder says of itself: manifest.json, and the same text inside the ONNX file."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from app.arrays import SAMPLE_RATE_HZ
from app.errors import ModelInvalid

METADATA_KEY: Final = "timbre.manifest"
"""Key of the ONNX metadata under which the manifest stands, without the hashes of the files."""

_HASHES: Final = ("sha256", "int8_sha256")


@dataclass(frozen=True)
class Manifest:
    """The facts about one model. Every field is required in manifest.json."""

    name: str
    """Name of the model, which is also the name of its folder as it is published."""
    version: str
    """Version of the model, `major.minor.patch`."""
    sha256: str
    """SHA-256 of model.onnx, 64 hexadecimal digits."""
    int8_sha256: str | None
    """SHA-256 of model.int8.onnx, or None where there is no quantised file."""
    sample_rate_hz: int
    """Sample rate of the waveform, in hertz; always 16000."""
    dim: int
    """Length of the embedding."""
    window_samples: int
    """Samples in the shortest waveform that the model takes: one analysis window of its front end."""
    min_speech_s: float
    """Least speech for an embedding worth comparing, in seconds. A recommendation to whoever sets limits."""
    input: str
    """What the graph takes; only "waveform" is served."""
    recipe: str
    """Training recipe that made it."""
    corpus: str
    """Corpus that it was trained on."""
    commit: str
    """Commit of the training code."""
    created_at: str
    """Time of the export, RFC 3339."""

    @property
    def model_id(self) -> str:
        """Name and the first 12 digits of the hash: the partition in which its embeddings are compared."""
        return f"{self.name}@{self.sha256[:12]}"

    def as_dict(self) -> dict[str, Any]:
        """Every field by name, ready for JSON."""
        return asdict(self)

    def metadata_text(self) -> str:
        """The text inside the ONNX file: JSON of every field but the hashes; no file can hold its own."""
        inner = {key: value for key, value in self.as_dict().items() if key not in _HASHES}
        return json.dumps(inner, sort_keys=True)

    def write(self, folder: Path) -> None:
        """Write manifest.json into `folder`."""
        (folder / "manifest.json").write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read and check `folder`/manifest.json; keys that this version does not know are left aside.

    Args:
        folder: The model's folder.

    Returns:
        The manifest, every field of the right type and in range.

    Raises:
        ModelInvalid: The folder or the file is missing, or it is no JSON object, lacks a key or holds a
            wrong value.
    """
    path = folder / "manifest.json"
    if not folder.is_dir():
        raise ModelInvalid(str(folder), "there is no such folder")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelInvalid(str(folder), "manifest.json is missing") from None
    except (OSError, ValueError) as error:
        raise ModelInvalid(str(folder), f"manifest.json cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ModelInvalid(str(folder), "manifest.json is no JSON object")
    names = [field.name for field in fields(Manifest)]
    missing = [name for name in names if name not in found]
    if missing:
        raise ModelInvalid(str(folder), f"manifest.json lacks {', '.join(missing)}")
    problem = _wrong_value(found)
    if problem:
        raise ModelInvalid(str(folder), f"manifest.json: {problem}")
    return Manifest(**{name: found[name] for name in names})


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    return sha256_of_bytes(path.read_bytes())


def sha256_of_bytes(data: bytes) -> str:
    """SHA-256 of bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _wrong_value(found: dict[str, Any]) -> str | None:
    """The first field with a wrong value, in words; None when all are right."""
    for name in ("name", "version", "recipe", "corpus", "commit", "created_at"):
        if not isinstance(found[name], str) or not found[name]:
            return f"{name} must be a text"
    for name in ("dim", "window_samples"):
        if type(found[name]) is not int or found[name] < 1:
            return f"{name} must be a whole number above 0"
    if type(found["min_speech_s"]) not in (int, float) or not 0 < found["min_speech_s"] < 3600:
        return "min_speech_s must be a number of seconds above 0"
    if found["sample_rate_hz"] != SAMPLE_RATE_HZ:
        return f"sample_rate_hz is {found['sample_rate_hz']}, only {SAMPLE_RATE_HZ} is served"
    if found["input"] != "waveform":
        return f"input is {found['input']!r}, only 'waveform' is served"
    for name in _HASHES:
        if not _is_hash(found[name]) and not (name == "int8_sha256" and found[name] is None):
            return f"{name} must be 64 hexadecimal digits"
    return None


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
