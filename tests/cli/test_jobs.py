"""`timbre import`, `export` and `jobs`."""

import gzip
import json
import stat
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from app.cli.uploads import Upload
from tests.bulk import json_lines
from tests.cli.conftest import Timbre
from tests.served import clip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two speakers, one file that is no recording, and what a desktop leaves in every folder."""
    root = tmp_path / "voices"
    for voice, name in ((1, "ada"), (2, "bob")):
        (root / name).mkdir(parents=True)
        for take in range(2):
            (root / name / f"{take}.wav").write_bytes(clip(voice, take))
        (root / name / ".DS_Store").write_bytes(b"x")
    (root / "bob" / "notes.txt").write_text("no recording")
    (root / "bob" / "link.wav").symlink_to(root / "ada" / "0.wav")
    return root


def test_a_folder_is_a_tar_that_nobody_wrote(folder: Path) -> None:
    (folder / "manifest.csv").write_text("file,speaker_id\n" + f"{'long/' * 60}x.wav,ada\n")
    deep = folder / "/".join(["long"] * 60)
    deep.mkdir(parents=True)
    (deep / "x.wav").write_bytes(b"x" * 513)
    (deep / "empty.wav").write_bytes(b"")
    upload = Upload(folder)
    data = b"".join(upload.pieces())
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        names = archive.getnames()
        read = {name: archive.extractfile(name).read() for name in names}
    assert names[0] == "manifest.csv", "the service looks for it first"
    expected = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert read == {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in expected
        if not path.name.startswith(".")
    }
    assert 0.9 < upload.size / len(data) <= 1.0


def test_a_file_is_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "import.zip").write_bytes(b"PK" * 1_500_000)
    upload = Upload(tmp_path / "import.zip")
    assert b"".join(upload.pieces()) == b"PK" * 1_500_000
    assert upload.size == 3_000_000
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError):
        Upload(tmp_path / "empty")


def test_import_of_a_folder(timbre: Timbre, folder: Path) -> None:
    done = timbre("import", folder)
    assert done.code == 1, "a row was refused"
    assert "4 accepted, 1 refused" in done.out
    assert "unsupported_media_type" in done.out
    (folder / "bob" / "notes.txt").unlink()
    again = timbre("import", folder, "--json")
    assert again.code == 0
    assert json.loads(again.out)["counts"] == {"duplicate": 4}
    assert timbre("speakers", "list").out.count("enrolled") == 2


def test_jobs_are_listed_shown_and_cancelled(timbre: Timbre, tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl.gz"
    rows = ({"speaker_id": "zenobia", "audio": clip(1)}, {"speaker_id": "no id", "audio": clip(1)})
    file.write_bytes(gzip.compress(json_lines(*rows)))
    job_id = json.loads(timbre("import", file, "--json").out)["job_id"]
    assert job_id in timbre("jobs", "list").out
    assert "succeeded" in timbre("jobs", "show", job_id).out
    shown = timbre("jobs", "rows", job_id, "--outcome", "refused").out
    assert "invalid_speaker_id" in shown
    assert "zenobia" not in shown
    assert "succeeded" in timbre("jobs", "cancel", job_id).out, "it had ended"
    unknown = timbre("jobs", "show", "0" * 32)
    assert (unknown.code, "job_not_found" in unknown.err) == (2, True)


def test_a_broken_import_says_why(timbre: Timbre, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04")
    done = timbre("import", tmp_path / "x.zip")
    assert done.code == 2
    assert "malformed_request" in done.err


def test_export_into_a_private_file(timbre: Timbre, folder: Path, tmp_path: Path) -> None:
    timbre("import", folder)
    file = tmp_path / "speakers.jsonl"
    done = timbre("export", file)
    assert done.code == 0
    assert "2 exported" in done.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["speaker_id"] for line in lines if line["type"] == "speaker"] == ["ada", "bob"]


def test_import_works_without_a_server(alone: Timbre, folder: Path) -> None:
    done = alone("import", folder)
    assert "4 accepted, 1 refused" in done.out
    assert "ada" in alone("speakers", "list").out
