"""The rows of an import, whatever it came as: an archive with a manifest, one of folders, or JSON lines."""

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from app.errors import AudioMissing, MalformedRequest, PayloadTooLarge, TimbreError, ValidationFailed
from app.service.archives import Members, open_archive
from app.service.manifests import LARGEST_MANIFEST, NAMES, RowFields, read_json, read_manifest, read_row
from app.service.spool import SpoolReader, lines_of

_AROUND_AUDIO: Final = 64 * 1024
"""Bytes of a JSON line beside its recording."""
_HOMELESS: Final = ValidationFailed("file", "it lies in no folder, and there is no manifest")


@dataclass(frozen=True)
class ImportRow:
    """One row. Its recording is read when it is asked for."""

    number: int
    """From 1, the same however often the import is read."""
    said: RowFields | TimbreError
    """What the row says, or why it cannot be used."""
    load: Callable[[], bytes]
    """The recording; raises TimbreError."""
    about_speaker: bool = False
    """It comes from an export and describes a speaker, without a recording."""


@dataclass(frozen=True)
class ImportRows:
    """All rows of an import."""

    total: int
    after: Callable[[int], Iterator[ImportRow]]
    """The rows whose number is greater; to be called once."""


def read_import(file: SpoolReader, limit_bytes: int, most_bytes: int) -> ImportRows:
    """Look into an upload.

    Args:
        file: The upload; it must stay open while rows are read.
        limit_bytes: Largest recording, in bytes.
        most_bytes: Most bytes that an archive may hold unpacked.

    Returns:
        Its rows.

    Raises:
        MalformedRequest: It is neither zip, tar nor JSON lines, or is broken, or its manifest is.
        PayloadTooLarge: It unpacks to more than `most_bytes`, or its manifest is too large.
    """
    archive = open_archive(file)
    if archive is None:
        return _from_lines(file, limit_bytes)
    members = Members(archive, most_bytes)
    found = _manifest_of(members.names())
    if found is None:
        return _from_folders(members, limit_bytes)
    try:
        manifest = read_manifest(found, members.read(found, LARGEST_MANIFEST))
    except ValidationFailed as refusal:
        raise MalformedRequest(f"the manifest cannot be read: {refusal.problem}") from None
    folder = found[: found.rindex("/") + 1] if "/" in found else ""
    return _from_manifest(manifest, lambda name: _read(members, folder, name, limit_bytes))


def _manifest_of(names: list[str]) -> str | None:
    """The manifest that lies highest in the archive."""
    found = [name for name in names if name.rsplit("/", 1)[-1] in NAMES and not _hidden(name)]
    highest = min((name.count("/") for name in found), default=0)
    found = [name for name in found if name.count("/") == highest]
    if len(found) > 1:
        raise MalformedRequest("the archive has two manifests side by side")
    return found[0] if found else None


def _from_manifest(manifest: list[dict[str, Any] | TimbreError], read: Callable[[str], bytes]) -> ImportRows:
    def rows(after: int) -> Iterator[ImportRow]:
        for number, values in islice(enumerate(manifest, 1), after, None):
            if isinstance(values, TimbreError):
                yield ImportRow(number, values, _nothing)
            else:
                yield ImportRow(number, read_row(values), partial(read, values["file"]))

    return ImportRows(len(manifest), rows)


def _from_folders(members: Members, limit_bytes: int) -> ImportRows:
    files = [name for name in members.names() if not _hidden(name)]
    if not files:
        raise MalformedRequest("the archive holds no files")

    def rows(after: int) -> Iterator[ImportRow]:
        for number, name in islice(enumerate(files, 1), after, None):
            *above, _ = name.split("/")
            said = read_row({"speaker_id": above[-1]}) if above else _HOMELESS
            yield ImportRow(number, said, partial(members.read, name, limit_bytes))

    return ImportRows(len(files), rows)


def _from_lines(file: SpoolReader, limit_bytes: int) -> ImportRows:
    longest = limit_bytes * 4 // 3 + _AROUND_AUDIO

    def lines() -> Iterator[bytes | None]:
        file.seek(0)
        return (line for line in lines_of(file, longest) if line is None or line.strip())

    first = next(lines(), b"")
    if first is not None and not isinstance(read_json(first.removeprefix(b"\xef\xbb\xbf")), dict):
        raise MalformedRequest("it is neither a zip, a tar, nor one JSON object a line")

    def rows(after: int) -> Iterator[ImportRow]:
        for number, line in islice(enumerate(lines(), 1), after, None):
            yield _line_row(number, line, limit_bytes)

    return ImportRows(sum(1 for _ in lines()), rows)


def _line_row(number: int, line: bytes | None, limit_bytes: int) -> ImportRow:
    if line is None:
        return ImportRow(number, PayloadTooLarge(limit_bytes), _nothing)
    values = read_json(line.removeprefix(b"\xef\xbb\xbf"))
    if isinstance(values, TimbreError):
        return ImportRow(number, values, _nothing)
    audio = values.pop("audio", None)
    about_speaker = audio is None and values.get("type") == "speaker"
    return ImportRow(number, read_row(values), partial(_decoded, audio, limit_bytes), about_speaker)


def _decoded(audio: Any, limit_bytes: int) -> bytes:
    if not isinstance(audio, str):
        raise AudioMissing("audio")
    try:
        data = base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise ValidationFailed("audio", "it is not base64") from None
    if len(data) > limit_bytes:
        raise PayloadTooLarge(limit_bytes)
    return data


def _read(members: Members, folder: str, name: str, limit_bytes: int) -> bytes:
    """A recording of a manifest, whose names begin where the manifest lies."""
    return members.read(name if name.startswith("/") else folder + name.removeprefix("./"), limit_bytes)


def _hidden(name: str) -> bool:
    return name.startswith("__MACOSX/") or any(p.startswith(".") and p != ".." for p in name.split("/"))


def _nothing() -> bytes:
    raise AudioMissing("audio")
