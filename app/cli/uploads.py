"""A folder of recordings as a tar that is made while it is sent: no copy of it is written anywhere."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MANIFESTS: Final = ("manifest.csv", "manifest.jsonl")
_PIECE: Final = 1024 * 1024
_BLOCK: Final = 512


class Upload:
    """What is sent for an import, and how much of it there is."""

    def __init__(self, source: Path) -> None:
        """Look at a folder, or at a file that is sent as it is.

        Raises:
            FileNotFoundError: There is nothing there, or no recording in the folder.
        """
        self._source: Final = source
        self._files = _files(source) if source.is_dir() else None
        if self._files == []:
            raise FileNotFoundError(2, "the folder holds no files", str(source))
        self.size: Final = (
            source.stat().st_size
            if self._files is None
            else sum(_tar_size(file.stat().st_size) for file in self._files) + 2 * _BLOCK
        )
        """Bytes, or nearly so many."""

    def pieces(self) -> Iterator[bytes]:
        """The bytes, piece by piece."""
        if self._files is None:
            with self._source.open("rb") as file:
                while piece := file.read(_PIECE):
                    yield piece
            return
        for path in self._files:
            yield from _member(path, path.relative_to(self._source).as_posix())
        yield bytes(2 * _BLOCK)


def _files(folder: Path) -> list[Path]:
    """Every plain file but hidden ones, the manifest first."""
    found = []
    for above, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [Path(above) / name for name in sorted(names) if not name.startswith(".")]
        found += [path for path in paths if path.is_file() and not path.is_symlink()]
    return sorted(found, key=lambda path: (path.parent != folder or path.name not in MANIFESTS, path))


def _member(path: Path, name: str) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size = left = path.stat().st_size
    yield info.tobuf(tarfile.PAX_FORMAT)
    with path.open("rb") as file:
        while left and (piece := file.read(min(left, _PIECE))):
            left -= len(piece)
            yield piece
    # A file that became shorter meanwhile is filled up, or everything behind it would be lost.
    while left:
        filling = min(left, _PIECE)
        left -= filling
        yield bytes(filling)
    yield bytes(-info.size % _BLOCK)


def _tar_size(size: int) -> int:
    return _BLOCK + size + -size % _BLOCK
