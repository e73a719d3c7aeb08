"""What a model folder says of itself: manifest.json, and the same text inside the ONNX file."""

import hashlib
import json
import os
import re
import stat
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

from app.arrays import SAMPLE_RATE_HZ
from app.errors import ModelInvalid

Precision = Literal["fp32", "int8"]

METADATA_KEY: Final = "timbre.manifest"
"""Key of the ONNX metadata under which the manifest stands, without the list of files and their hashes."""

MANIFEST: Final = "manifest.json"
CALIBRATION: Final = "calibration.json"
MOST_BYTES: Final[dict[str, int]] = {
    MANIFEST: 1 << 20,
    CALIBRATION: 1 << 24,
    "digits.json": 1 << 20,
    "golden.npz": 1 << 26,
    ".onnx": (1 << 31) - 1,  # no protobuf is longer
}
"""Bytes that a file of a model folder may have, by its name or the end of it; others may have a megabyte."""
_MACHINE: Final = re.compile(r"(cpu|cuda)(:[a-z0-9_.]+)?")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.onnx")


@dataclass(frozen=True)
class ModelFile:
    """One file of the model, and where it is meant to run."""

    file: str
    """Name inside the model's folder."""
    precision: Precision
    """"fp32": the trained network as it is. "int8": its approximation in eight bits."""
    sha256: str
    """SHA-256 of the file, 64 hexadecimal digits."""
    serves: tuple[str, ...]
    """Machines: "cuda", "cpu" for any processor, "cpu:FLAG" for one that lists that flag in /proc/cpuinfo."""
    suits: str
    """The same in words."""


@dataclass(frozen=True)
class Manifest:
    """The facts about one model. Every field is required in manifest.json."""

    name: str
    """Name of the model, which is also the name of its folder as it is published."""
    version: str
    """Version of the model, `major.minor.patch`."""
    files: tuple[ModelFile, ...]
    """The files, each of another precision; float32 is always among them."""
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
    calibration_sha256: str | None = None
    """SHA-256 of the calibration.json that belongs to it; None before it was calibrated, and then nothing
    serves."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the float32 file, by which the model is known whichever file serves."""
        (exact,) = (file for file in self.files if file.precision == "fp32")
        return exact.sha256

    @property
    def model_id(self) -> str:
        """Name and the first 12 digits of the hash: the partition in which its embeddings are compared."""
        return f"{self.name}@{self.sha256[:12]}"

    def file_of(self, precision: Precision) -> ModelFile | None:
        """The file of that precision; None where there is none."""
        return next((file for file in self.files if file.precision == precision), None)

    def with_file(self, new: ModelFile) -> Self:
        """The same manifest with `new` in place of the file of its precision, or as one more."""
        files = [new, *(old for old in self.files if old.precision != new.precision)]
        return replace(self, files=tuple(sorted(files, key=lambda file: file.precision)))

    def as_dict(self) -> dict[str, Any]:
        """Every field by name, ready for JSON."""
        return asdict(self)

    def metadata_text(self) -> str:
        """The text inside each ONNX file: JSON of every field but hashes of files, which are known later."""
        inner = {key: value for key, value in self.as_dict().items() if key not in _LATER}
        return json.dumps(inner, sort_keys=True)

    def write(self, folder: Path) -> None:
        """Write manifest.json into `folder`."""
        found = {key: value for key, value in self.as_dict().items() if value is not None}
        (folder / MANIFEST).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


_LATER: Final = ("files", "calibration_sha256")
_FILE_KEYS: Final = tuple(field.name for field in fields(ModelFile))


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
    if not folder.is_dir():
        raise ModelInvalid(str(folder), "there is no such folder")
    try:
        found = json.loads(file_bytes(folder, MANIFEST).decode())
    except (ValueError, RecursionError) as error:
        raise ModelInvalid(str(folder), f"manifest.json cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ModelInvalid(str(folder), "manifest.json is no JSON object")
    names = [field.name for field in fields(Manifest) if field.name in found]
    missing = [f.name for f in fields(Manifest) if f.name not in found and f.default is MISSING]
    if missing:
        raise ModelInvalid(str(folder), f"manifest.json lacks {', '.join(missing)}")
    problem = _wrong_value(found)
    if problem:
        raise ModelInvalid(str(folder), f"manifest.json: {problem}")
    files = tuple(
        ModelFile(**{**{name: entry[name] for name in _FILE_KEYS}, "serves": tuple(entry["serves"])})
        for entry in found["files"]
    )
    return Manifest(**{**{name: found[name] for name in names}, "files": files})


def file_bytes(folder: Path, name: str) -> bytes:
    """Read a file of a model folder, once: what is hashed is then what is used.

    Raises:
        ModelInvalid: It is missing, no regular file (reading a pipe would never end), or far too large.
    """
    most = next((size for end, size in MOST_BYTES.items() if name.endswith(end)), 1 << 20)
    try:
        # Without waiting: opening a pipe would wait for somebody to write into it.
        with os.fdopen(os.open(folder / name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ModelInvalid(str(folder), f"{name} is no file")
            data = file.read(most + 1)
    except FileNotFoundError:
        raise ModelInvalid(str(folder), f"{name} is missing") from None
    except OSError as error:
        raise ModelInvalid(str(folder), f"{name} cannot be read: {error.strerror}") from error
    if not 0 < len(data) <= most:
        raise ModelInvalid(str(folder), f"{name} is empty" if not data else f"{name} is too large")
    return data


def pin_calibration(folder: Path) -> None:
    """Write into manifest.json which calibration.json belongs to the model: the one that lies there now."""
    replace(read_manifest(folder), calibration_sha256=sha256_of(folder / CALIBRATION)).write(folder)


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
    if not _NAME.fullmatch(found["name"]):
        return "name must be 1 to 64 of A-Z a-z 0-9 . _ + -, a letter or digit first"
    if not _is_hash(found.get("calibration_sha256", "0" * 64)):
        return "calibration_sha256 must be 64 hexadecimal digits"
    for name, most in (("dim", 1 << 16), ("window_samples", 1 << 20)):
        if type(found[name]) is not int or not 0 < found[name] <= most:
            return f"{name} must be a whole number from 1 to {most}"
    if type(found["min_speech_s"]) not in (int, float) or not 0 < found["min_speech_s"] < 3600:
        return "min_speech_s must be a number of seconds above 0"
    if found["sample_rate_hz"] != SAMPLE_RATE_HZ:
        return f"sample_rate_hz is {found['sample_rate_hz']}, only {SAMPLE_RATE_HZ} is served"
    if found["input"] != "waveform":
        return f"input is {found['input']!r}, only 'waveform' is served"
    return _wrong_files(found["files"])


def _wrong_files(entries: object) -> str | None:
    """The first thing wrong with the list of files, in words; None when all is right."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return "files must be a list of objects"
    for entry in entries:
        missing = [name for name in _FILE_KEYS if name not in entry]
        problem = f"it lacks {', '.join(missing)}" if missing else _wrong_file(entry)
        if problem:
            return f"files: {entry.get('file', 'an entry')}: {problem}"
    precisions = [entry["precision"] for entry in entries]
    if "fp32" not in precisions or len(set(precisions)) < len(precisions):
        return "files must hold one file with precision 'fp32' and at most one with 'int8'"
    return None


def _wrong_file(entry: dict[str, Any]) -> str | None:
    """The first wrong value of one file, in words; None when all are right."""
    if not isinstance(entry["file"], str) or not _FILE_NAME.fullmatch(entry["file"]):
        return "file must be the plain name of an .onnx file in the model's folder"
    if entry["precision"] not in get_args(Precision):
        return f"precision is {entry['precision']!r}, only 'fp32' and 'int8' are served"
    if not _is_hash(entry["sha256"]):
        return "sha256 must be 64 hexadecimal digits"
    serves = entry["serves"]
    if not isinstance(serves, list) or not all(isinstance(s, str) and _MACHINE.fullmatch(s) for s in serves):
        return "serves must be a list of 'cuda', 'cpu' and 'cpu:flag'"
    if not isinstance(entry["suits"], str):
        return "suits must be a text"
    return None


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
