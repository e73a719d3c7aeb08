"""Files of jobs: what was uploaded for an import, what an export has written. Sealed, private to the service.

Each file has a key of its own, which stands wrapped in the row of the job and goes with its end: what is left
on the disk then, here or on another machine or in a backup, cannot be read.
"""

import contextlib
import io
import os
import re
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from app.errors import StorageUnavailable
from app.store.vault import Vault

_CHUNK: Final = 256 * 1024
"""Bytes that are sealed together; a reader holds one such piece."""
_NEW_S: Final = {"sealed": 60.0, "part": 3600.0}
"""Seconds for which a file may lie there without a job: it gets one when its upload is complete."""
_NAME: Final = re.compile(r"([0-9a-f]{32})\.(sealed|part)")


@contextlib.contextmanager
def _on_disk() -> Iterator[None]:
    """Turns a disk that is full, read-only or failing into StorageUnavailable."""
    try:
        yield
    except OSError as problem:
        raise StorageUnavailable from problem


class Bell:
    """Wakes the threads that wait for jobs; safe to share between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.strokes = 0
        """How often it has rung."""

    def ring(self) -> None:
        """Wake whoever waits."""
        with self._changed:
            self.strokes += 1
            self._changed.notify_all()

    def wait(self, heard: int, longest_s: float) -> None:
        """Wait until it has rung more than `heard` times, `longest_s` seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: self.strokes != heard, longest_s)


class ReadTooLarge(ValueError):
    """Somebody asked for more in one read than any header needs."""


class Folder:
    """The folder of job files, shared by the processes of one machine, or by all of them on a shared disk."""

    def __init__(self, path: Path, vault: Vault) -> None:
        """Name the folder; it is made, readable by its owner only, with the first file."""
        self._path: Final = path
        self._vault: Final = vault

    def has(self, job_id: str) -> bool:
        """Whether the finished file of a job lies here."""
        return self._of(job_id).is_file()

    def writer(self, job_id: str, key: bytes) -> "SpoolWriter":
        """Begin a file in pieces of one size, which may be read at any place; `finish` gives it its name.

        Raises:
            StorageUnavailable: The disk does not take it; so do all that write.
        """
        with _on_disk():
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            return SpoolWriter(self._of(job_id), self._vault, key, job_id)

    def reader(self, job_id: str, key: bytes) -> "SpoolReader":
        """Open what a `writer` has finished; raises FileNotFoundError when it is not here."""
        return SpoolReader(self._of(job_id), self._vault, key, job_id)

    def append(self, job_id: str, key: bytes, place: int, data: bytes) -> int:
        """Write a piece of any size behind what counts of the file.

        Args:
            job_id: Whose file; made when it is missing.
            key: The wrapped key.
            place: Bytes of the file that count; what a crash has left behind them is cut off.
            data: The piece.

        Returns:
            Bytes that count now.

        Raises:
            StorageUnavailable: The disk does not take it.
        """
        sealed = self._vault.seal(key, data, f"{job_id} {place}")
        with _on_disk():
            return self._append(job_id, place, sealed)

    def _append(self, job_id: str, place: int, sealed: bytes) -> int:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(self._of(job_id), os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            file.truncate(place)
            file.seek(place)
            file.write(len(sealed).to_bytes(8, "big") + sealed)
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def pieces(self, job_id: str, key: bytes, length: int) -> Iterator[bytes]:
        """Read what `append` has written, up to the bytes that count. The file is opened now.

        Raises:
            FileNotFoundError: The file is not here, or (while it is read) ends early.
        """
        if not length:
            return iter(())
        return self._pieces(self._of(job_id).open("rb"), job_id, key, length)

    def _pieces(self, file: BinaryIO, job_id: str, key: bytes, length: int) -> Iterator[bytes]:
        opener, place = self._vault.opener(key), 0
        with file:
            while place < length:
                size = int.from_bytes(file.read(8), "big")
                sealed = file.read(size)
                if not sealed or len(sealed) < size:
                    raise FileNotFoundError(f"the file of job {job_id} ends early")
                yield opener(sealed, f"{job_id} {place}")
                place = file.tell()

    def drop(self, job_id: str) -> None:
        """Delete the file of a job, finished or not."""
        for path in (self._of(job_id), self._of(job_id).with_suffix(".part")):
            path.unlink(missing_ok=True)

    def job_ids(self) -> set[str]:
        """Jobs that files here belong to, but for files that were written just now."""
        found, now = set(), time.time()
        with contextlib.suppress(FileNotFoundError):
            for path in self._path.iterdir():
                named = _NAME.fullmatch(path.name)
                with contextlib.suppress(FileNotFoundError):
                    if named and now - path.stat().st_mtime > _NEW_S[named[2]]:
                        found.add(named[1])
        return found

    def keep_only(self, job_ids: Collection[str]) -> None:
        """Delete every older file of other jobs: what crashes, cancellations and ended jobs have left."""
        for job_id in self.job_ids() - set(job_ids):
            self.drop(job_id)

    def _of(self, job_id: str) -> Path:
        return self._path / f"{job_id}.sealed"


class SpoolWriter:
    """Writes an upload as it streams in. Used as a context, it deletes what was not finished."""

    def __init__(self, path: Path, vault: Vault, key: bytes, job_id: str) -> None:
        self._path, self._part = path, path.with_suffix(".part")
        self._vault, self._key, self._job_id = vault, key, job_id
        self._pending = bytearray()
        self._chunks = 0
        self.size = 0
        """Bytes taken so far."""
        self._file: BinaryIO = os.fdopen(
            os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
        )

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._pending += data
        self.size += len(data)
        while len(self._pending) >= _CHUNK:
            self._seal(bytes(self._pending[:_CHUNK]))
            del self._pending[:_CHUNK]

    def finish(self) -> None:
        """Write the rest and give the file its name: from now on readers see it."""
        self._seal(bytes(self._pending))
        with _on_disk():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.rename(self._path)

    def __enter__(self) -> "SpoolWriter":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # what a full disk has not taken is tried again here
            self._file.close()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _seal(self, chunk: bytes) -> None:
        with _on_disk():
            self._file.write(self._vault.seal(self._key, chunk, f"{self._job_id} {self._chunks}"))
        self._chunks += 1


class SpoolReader(io.RawIOBase):
    """A finished upload as a file that can be read anywhere, one piece of it opened at a time."""

    def __init__(self, path: Path, vault: Vault, key: bytes, job_id: str) -> None:
        self._opener, self._job_id = vault.opener(key), job_id
        self._over = len(vault.seal(key, b"", ""))
        self._file = path.open("rb")
        whole, rest = divmod(self._file.seek(0, io.SEEK_END), _CHUNK + self._over)
        self.size: Final = whole * _CHUNK + max(0, rest - self._over)
        """Bytes of the upload."""
        self.largest_read = 16 * 1024 * 1024
        """Most that one read gives: the headers of a hostile archive may ask for the whole file at once."""
        self._place = 0
        self._chunk: tuple[int, bytes] = (-1, b"")

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; the file system is not asked before the next read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("a place before the beginning")
        self._place = base + offset
        return self._place

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; all that is left without it.

        Raises:
            ReadTooLarge: That is more than any header needs.
            MasterKeyInvalid: The file was changed.
        """
        left = max(0, self.size - self._place)
        size = left if size < 0 else min(size, left)
        if size > self.largest_read:
            raise ReadTooLarge(f"a header says that it is {size} bytes long")
        pieces = []
        while size:
            number, start = divmod(self._place, _CHUNK)
            piece = self._opened(number)[start : start + size]
            if not piece:
                break
            pieces.append(piece)
            self._place += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer."""
        view = memoryview(buffer).cast("B")
        data = self.read(min(len(view), self.largest_read))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _opened(self, number: int) -> bytes:
        if self._chunk[0] != number:
            self._file.seek(number * (_CHUNK + self._over))
            sealed = self._file.read(_CHUNK + self._over)
            self._chunk = number, self._opener(sealed, f"{self._job_id} {number}")
        return self._chunk[1]


def lines_of(file: SpoolReader, longest: int) -> Iterator[bytes | None]:
    """Lines of a file without their ends; None stands for one that is longer than `longest` bytes."""
    pending, too_long = bytearray(), False
    while data := file.read(_CHUNK):
        *ended, rest = data.split(b"\n")
        for part in ended:
            too_long = too_long or len(pending) + len(part) > longest
            yield None if too_long else bytes(pending + part)
            pending, too_long = bytearray(), False
        too_long = too_long or len(pending) + len(rest) > longest
        pending = bytearray() if too_long else pending + rest
    if pending or too_long:
        yield None if too_long else bytes(pending)
