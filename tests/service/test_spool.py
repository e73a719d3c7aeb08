"""Files of jobs: sealed, readable anywhere, gone when their key or their job is."""

import io
import os
import stat
import time
from pathlib import Path

import pytest

from app.errors import MasterKeyInvalid
from app.service.spool import Folder, ReadTooLarge, lines_of
from tests.store.makers import VAULT

CHUNK = 256 * 1024
JOB = f"{7:032x}"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "jobs", VAULT)


def spooled(folder: Folder, data: bytes, job_id: str = JOB, step: int = 100_000) -> bytes:
    key = VAULT.new_data_key()
    with folder.writer(job_id, key) as writer:
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
        writer.finish()
    return key


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17])
def test_a_spool_reads_as_what_was_written(folder: Folder, size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    key = spooled(folder, data)
    with folder.reader(JOB, key) as reader:
        assert reader.size == size
        assert reader.read() == data
        for start, length in [
            (0, 5),
            (CHUNK - 3, 6),
            (2 * CHUNK - 1, CHUNK + 2),
            (size - 2, 9),
            (size + 5, 1),
        ]:
            if start >= 0:
                reader.seek(start)
                assert reader.read(length) == data[start : start + length]
        assert reader.seek(-1, io.SEEK_END) == size - 1 if size else True
    (file,) = (tmp_path / "jobs").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    if size > 1000:
        assert data[:64] not in file.read_bytes(), "what lies on the disk is sealed"


def test_a_changed_or_foreign_spool_is_refused(folder: Folder, tmp_path: Path) -> None:
    key = spooled(folder, b"voice" * CHUNK)
    other = f"{8:032x}"
    (tmp_path / "jobs" / f"{other}.sealed").write_bytes((tmp_path / "jobs" / f"{JOB}.sealed").read_bytes())
    with folder.reader(other, key) as reader, pytest.raises(MasterKeyInvalid):
        reader.read(1)
    path = tmp_path / "jobs" / f"{JOB}.sealed"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with folder.reader(JOB, key) as reader:
        reader.seek(reader.size // 2 - 4)
        with pytest.raises(MasterKeyInvalid):
            reader.read(8)
    with pytest.raises(MasterKeyInvalid), folder.reader(JOB, VAULT.new_data_key()) as reader:
        reader.read(1)


def test_a_header_cannot_ask_for_everything_at_once(folder: Folder) -> None:
    key = spooled(folder, bytes(3 * CHUNK))
    with folder.reader(JOB, key) as reader:
        reader.largest_read = 2 * CHUNK
        assert len(reader.read(2 * CHUNK)) == 2 * CHUNK
        reader.seek(0)
        with pytest.raises(ReadTooLarge):
            reader.read()


def test_an_upload_that_breaks_off_leaves_nothing(folder: Folder, tmp_path: Path) -> None:
    with folder.writer(JOB, VAULT.new_data_key()) as writer:
        writer.write(bytes(CHUNK * 2))
        assert [path.name for path in (tmp_path / "jobs").iterdir()] == [f"{JOB}.part"]
    assert not list((tmp_path / "jobs").iterdir())
    assert not folder.has(JOB)


def test_what_a_crash_left_behind_the_place_is_written_over(folder: Folder) -> None:
    key = VAULT.new_data_key()
    first = folder.append(JOB, key, 0, b"one\n")
    folder.append(JOB, key, first, b"never counted, and longer than what follows\n" * 10)
    second = folder.append(JOB, key, first, b"two\n")
    assert list(folder.pieces(JOB, key, second)) == [b"one\n", b"two\n"]
    assert list(folder.pieces(JOB, key, first)) == [b"one\n"]
    with pytest.raises(FileNotFoundError):
        list(folder.pieces(JOB, key, second + 1))


def test_old_files_without_a_job_are_deleted(folder: Folder, tmp_path: Path) -> None:
    wanted, orphan, fresh, part = (f"{number:032x}" for number in range(4))
    for job_id in (wanted, orphan, fresh):
        spooled(folder, b"x", job_id)
    (tmp_path / "jobs" / f"{part}.part").write_bytes(b"x")
    (tmp_path / "jobs" / "notes.txt").write_text("not ours")
    old = time.time() - 7200
    for name in (f"{wanted}.sealed", f"{orphan}.sealed", f"{part}.part", "notes.txt"):
        os.utime(tmp_path / "jobs" / name, (old, old))
    folder.keep_only([wanted])
    left = {path.name for path in (tmp_path / "jobs").iterdir()}
    assert left == {f"{wanted}.sealed", f"{fresh}.sealed", "notes.txt"}


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a\nbb\n", [b"a", b"bb"]),
        (b"a\n\nbb", [b"a", b"", b"bb"]),
        (b"123456\nab\n", [None, b"ab"]),
        (b"ab\n" + b"x" * (2 * CHUNK) + b"\ncd\n", [b"ab", None, b"cd"]),
        (b"ab\n" + b"x" * (2 * CHUNK), [b"ab", None]),
        (b"12345\n12345", [b"12345", b"12345"]),
    ],
)
def test_lines_are_cut_and_endless_ones_dropped(
    folder: Folder, data: bytes, lines: list[bytes | None]
) -> None:
    key = spooled(folder, data)
    with folder.reader(JOB, key) as reader:
        assert list(lines_of(reader, 5)) == lines


def test_lines_are_the_same_wherever_the_pieces_end(folder: Folder) -> None:
    data = b"\n".join(b"line %d" % number for number in range(60_000))
    key = spooled(folder, data)
    with folder.reader(JOB, key) as reader:
        assert list(lines_of(reader, 100)) == data.split(b"\n")
