"""Archives from strangers: looked into, never unpacked. Members are read one at a time, with a limit on each.

Nothing here writes a file, follows a link or believes a size. What is wrong with the archive as a whole is a
MalformedRequest; what is wrong with one member is that member's own refusal.
"""

import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from app.errors import MalformedRequest, PayloadTooLarge, TimbreError, ValidationFailed
from app.service.spool import SpoolReader

MOST_MEMBERS: Final = 200_000
"""Members of one archive: their list is held in memory. JSON lines have no such limit."""
_HIGHEST_RATIO: Final = 200
"""Bytes out of one byte of a zip, beyond which a large member is no recording: wav of speech reaches 2."""
_SMALL: Final = 1024 * 1024
_TAR_HEADER: Final = 1024 * 1024
_BROKEN: Final = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, struct.error),
    *(ValueError, OverflowError, NotImplementedError, RecursionError, EOFError, OSError),
)
"""What the readers of the standard library raise over an archive that lies."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member, as the archive describes it."""

    name: str
    size: int
    problem: str | None
    """Why it cannot be a recording, whatever is in it."""
    where: Any


class Archive(Protocol):
    """What can be asked of an archive of either kind."""

    def members(self) -> Iterator[Member]:
        """Every member but folders, in the order of the archive."""

    def data(self, member: Member) -> bytes:
        """The bytes of a member."""


class Members:
    """The members of one archive by name, each readable within a limit."""

    def __init__(self, archive: Archive, most_bytes: int) -> None:
        """List the archive.

        Args:
            archive: The archive.
            most_bytes: Most bytes in all members together, as the archive says.

        Raises:
            MalformedRequest: It is broken, or has too many members.
            PayloadTooLarge: It says that it holds more than `most_bytes`.
        """
        self._archive: Final = archive
        self._members: dict[str, Member] = {}
        self._twice: set[str] = set()
        total = 0
        with _readable():
            for number, member in enumerate(archive.members()):
                if number >= MOST_MEMBERS:
                    raise MalformedRequest(f"the archive has more than {MOST_MEMBERS} files")
                name = member.name.removeprefix("./")
                if name in self._members:
                    self._twice.add(name)
                self._members[name] = member
                total += max(0, member.size)
        if total > most_bytes:
            raise PayloadTooLarge(most_bytes)

    def names(self) -> list[str]:
        """Every name, sorted."""
        return sorted(self._members)

    def read(self, name: str, limit_bytes: int) -> bytes:
        """The bytes of a member, if they are at most `limit_bytes`.

        Raises:
            ValidationFailed: There is none, it is no plain file, it is damaged, or its name leads elsewhere.
            PayloadTooLarge: It is larger than the limit.
        """
        if problem := _strange(name):
            raise ValidationFailed("file", problem)
        member = self._members.get(name.removeprefix("./"))
        if member is None:
            raise ValidationFailed("file", "the archive has no file of this name")
        if name.removeprefix("./") in self._twice:
            raise ValidationFailed("file", "the archive has two files of this name")
        if member.problem is not None:
            raise ValidationFailed("file", member.problem)
        if member.size > limit_bytes:
            raise PayloadTooLarge(limit_bytes)
        try:
            data = self._archive.data(member)
        except _BROKEN:
            raise ValidationFailed("file", "it is damaged in the archive") from None
        if len(data) != member.size:
            raise ValidationFailed("file", "the archive says another size than it has")
        return data


def open_archive(file: SpoolReader) -> Archive | None:
    """Look at the first bytes: a zip, a tar, or None.

    Raises:
        MalformedRequest: It begins like one and cannot be read.
    """
    head = file.read(512)
    file.seek(0)
    with _readable():
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _Zip(file)
        if head[257:262] == b"ustar":
            return _Tar(file)
    return None


class _Zip:
    def __init__(self, file: SpoolReader) -> None:
        self._zip = zipfile.ZipFile(cast("Any", file))

    def members(self) -> Iterator[Member]:
        for info in self._zip.infolist():
            if not info.is_dir():
                yield Member(info.filename, info.file_size, _zip_problem(info), info)

    def data(self, member: Member) -> bytes:
        with self._zip.open(member.where) as stream:
            # One byte more than is said: reading to the end is what checks the sum.
            return stream.read(member.size + 1)


def _zip_problem(info: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG}:
        return "it is a link or a device"
    if info.flag_bits & 1:
        return "it is encrypted"
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return "it is compressed in a way that is not read here; use deflate"
    if info.file_size > max(_SMALL, _HIGHEST_RATIO * info.compress_size):
        return "it grows too much when it is unpacked"
    return None


class _Tar:
    def __init__(self, file: SpoolReader) -> None:
        self._file = file
        file.largest_read = _TAR_HEADER  # names and extended headers; recordings are read piece by piece
        self._tar = tarfile.TarFile(fileobj=cast("Any", file), encoding="utf-8")

    def members(self) -> Iterator[Member]:
        last = -1
        while (info := self._tar.next()) is not None:
            if info.offset <= last or info.size < 0:
                raise tarfile.ReadError("the headers lead in a circle")
            last = info.offset
            self._tar.members = []  # type: ignore[attr-defined]  # it would keep every header
            if not info.isdir():
                yield Member(info.name, info.size, _tar_problem(info), info.offset_data)

    def data(self, member: Member) -> bytes:
        self._file.seek(member.where)
        pieces, left = [], member.size
        while left and (piece := self._file.read(min(left, _TAR_HEADER))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)


def _tar_problem(info: tarfile.TarInfo) -> str | None:
    if not info.isreg() or info.issparse():
        return "it is a link or a device"
    return None


def _strange(name: str) -> str | None:
    """Why a name cannot be that of a recording. Nothing is ever written there, but it is no honest name."""
    if "\0" in name or "\\" in name:
        return "its name holds a NUL or a backslash"
    if name.startswith("/") or name[1:2] == ":" or ".." in name.split("/"):
        return "its name leads out of the archive"
    return None


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except TimbreError:
        raise
    except _BROKEN as problem:
        raise MalformedRequest(f"the archive is broken ({type(problem).__name__})") from problem
