"""What an import holds: honest archives are read, hostile ones refused, row by row or whole."""

import base64
import io
import json
import struct
import tarfile
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from app.errors import MalformedRequest, PayloadTooLarge, TimbreError
from app.service.import_rows import ImportRow, read_import
from app.service.manifests import RowFields
from app.service.spool import Folder
from tests.service.test_spool import JOB, spooled
from tests.store.makers import VAULT

LIMIT = 2 * 1024 * 1024
MOST = 64 * 1024 * 1024
Members = dict[str, bytes]


def zipped(members: Members, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(members: Members, *extra: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in extra:
            archive.addfile(info)
    return file.getvalue()


def rows_of(tmp_path: Path, data: bytes, after: int = 0) -> list[tuple[int, Any, Any]]:
    """Number, what is said, and the recording, or the codes of refusals in their place."""
    folder = Folder(tmp_path / "jobs", VAULT)
    folder.drop(JOB)
    key = spooled(folder, data)
    with folder.reader(JOB, key) as reader:
        rows = read_import(reader, LIMIT, MOST)
        return [(row.number, _said(row), _loaded(row)) for row in rows.after(after)]


def _said(row: ImportRow) -> Any:
    return row.said.code if isinstance(row.said, TimbreError) else row.said.speaker_id


def _loaded(row: ImportRow) -> Any:
    try:
        return row.load()
    except TimbreError as refusal:
        return refusal.code


ADA, BOB = b"RIFF ada", b"RIFF bob"
MANIFEST = b"file,speaker_id,display_name\na/1.wav,ada,Ada\nb.wav,bob,\n"


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("root", ["", "./", "corpus/"])
def test_an_archive_with_a_manifest(tmp_path: Path, pack: Any, root: str) -> None:
    members = {f"{root}a/1.wav": ADA, f"{root}b.wav": BOB, f"{root}manifest.csv": MANIFEST}
    data = pack(members | {f"{root}unlisted.wav": b"x"})
    assert rows_of(tmp_path, data) == [(1, "ada", ADA), (2, "bob", BOB)]
    assert rows_of(tmp_path, data, after=1) == [(2, "bob", BOB)], "a resumed import begins behind"


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_of_folders(tmp_path: Path, pack: Any) -> None:
    members = {
        "top/bob/1.wav": BOB,
        "top/ada/1.wav": ADA,
        "top/.DS_Store": b"x",
        "__MACOSX/top/ada/1.wav": b"x",
        "top/no id/1.wav": b"y",
        "stray.wav": b"z",
    }
    assert rows_of(tmp_path, pack(members)) == [
        (1, "validation_error", b"z"),
        (2, "ada", ADA),
        (3, "bob", BOB),
        (4, "invalid_speaker_id", b"y"),
    ]


def test_every_field_of_a_manifest(tmp_path: Path) -> None:
    said = {
        "speaker_id": "ada",
        "display_name": "Ada",
        "metadata": {"group": "a"},
        "consent": "form 7",
        "retain_until": "2030-01-01T00:00:00+02:00",
        "of no": "concern",
    }
    rows = json.dumps({"file": "a.wav", **said}).encode()
    as_csv = (
        "\ufefffile, speaker_id,display_name,metadata,consent,retain_until\r\n"
        'a.wav,ada,Ada,"{""group"": ""a""}",form 7,2030-01-01T00:00:00+02:00\r\n'
    ).encode()
    found = []
    for name, manifest in (("manifest.jsonl", rows), ("manifest.csv", as_csv)):
        folder = Folder(tmp_path / name, VAULT)
        key = spooled(folder, zipped({name: manifest, "a.wav": ADA}))
        with folder.reader(JOB, key) as reader:
            (row,) = read_import(reader, LIMIT, MOST).after(0)
        assert isinstance(row.said, RowFields)
        found.append(row.said)
    assert found[0] == found[1]
    assert found[0].metadata == {"group": "a"}
    assert found[0].consent == {"reference": "form 7"}
    assert found[0].retain_until is not None
    assert found[0].retain_until.isoformat() == "2030-01-01T00:00:00+02:00"


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"speaker_id": "ada"}, "validation_error"),
        ({"file": "a.wav"}, "validation_error"),
        ({"file": "a.wav", "speaker_id": "../ada"}, "invalid_speaker_id"),
        ({"file": "a.wav", "speaker_id": 7}, "validation_error"),
        ({"file": "a.wav", "speaker_id": "ada", "metadata": "[1]"}, "validation_error"),
        ({"file": "a.wav", "speaker_id": "ada", "metadata": {"a": "x" * 5000}}, "validation_error"),
        ({"file": "a.wav", "speaker_id": "ada", "display_name": "a\x00b"}, "validation_error"),
        ({"file": "a.wav", "speaker_id": "ada", "retain_until": "2030-01-01T00:00:00"}, "validation_error"),
        ([1], "malformed_request"),
    ],
)
def test_a_wrong_row_is_refused_alone(tmp_path: Path, row: Any, code: str) -> None:
    good = json.dumps({"file": "a.wav", "speaker_id": "ada"})
    manifest = f"{json.dumps(row)}\n{good}\n".encode()
    (first, second) = rows_of(tmp_path, zipped({"manifest.jsonl": manifest, "a.wav": ADA}))
    assert first[:2] == (1, code)
    assert second == (2, "ada", ADA)


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"file,speaker_id\n",
        b"file,name\na.wav,ada\n",
        b"file,file,speaker_id\na,a,b\n",
        b'file,speaker_id\n"a.wav,ada\n',
        b"file,speaker_id\n\xff\xfe,ada\n",
        b"file,speaker_id\n" + b"x" * 200_000 + b",ada\n",
    ],
)
def test_a_broken_manifest_refuses_the_import(tmp_path: Path, manifest: bytes) -> None:
    with pytest.raises(MalformedRequest):
        rows_of(tmp_path, zipped({"manifest.csv": manifest, "a.wav": ADA}))


def test_two_manifests_side_by_side_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedRequest):
        rows_of(tmp_path, zipped({"manifest.csv": MANIFEST, "manifest.jsonl": b"{}"}))


# ---------------------------------------------------------------- hostile members


def named(name: str) -> bytes:
    return json.dumps({"file": name, "speaker_id": "ada"}).encode()


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("name", ["../evil.wav", "/etc/passwd", "a/../../b.wav", "C:/a.wav", "a\\b.wav"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, pack: Any, name: str) -> None:
    data = pack({name: ADA, "manifest.jsonl": named(name)})
    assert rows_of(tmp_path, data) == [(1, "ada", "validation_error")]
    assert {path.name for path in tmp_path.rglob("*")} == {"jobs", f"{JOB}.sealed"}, "nothing is unpacked"


def special(kind: bytes, name: str = "x.wav", target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    data = tarred({"manifest.jsonl": named("x.wav")}, special(kind, target="/etc/passwd"))
    assert rows_of(tmp_path, data) == [(1, "ada", "validation_error")]


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo("x.wav")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("manifest.jsonl", named("x.wav"))
    assert rows_of(tmp_path, file.getvalue()) == [(1, "ada", "validation_error")]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.wav", ADA)
        archive.writestr("./x.wav", BOB)
        archive.writestr("manifest.jsonl", named("x.wav"))
    assert rows_of(tmp_path, file.getvalue()) == [(1, "ada", "validation_error")]


def test_a_missing_member_and_one_too_large(tmp_path: Path) -> None:
    manifest = named("none.wav") + b"\n" + named("large.wav")
    data = tarred({"manifest.jsonl": manifest, "large.wav": bytes(LIMIT + 1)})
    assert [row[2] for row in rows_of(tmp_path, data)] == ["validation_error", "payload_too_large"]


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    data = zipped({"manifest.jsonl": named("bomb.wav"), "bomb.wav": bytes(LIMIT - 1)})
    assert rows_of(tmp_path, data) == [(1, "ada", "validation_error")]
    with pytest.raises(PayloadTooLarge):
        rows_of(tmp_path, zipped({f"a/{number}.wav": bytes(LIMIT) for number in range(40)}))


def test_a_size_that_lies_is_found_out(tmp_path: Path) -> None:
    data = bytearray(zipped({"a/x.wav": b"R" * 5000}, zipfile.ZIP_STORED))
    place = data.index(b"PK\x01\x02")
    for size in (10, 4_000_000_000):
        struct.pack_into("<I", data, place + 24, size)
        with pytest.raises(PayloadTooLarge) if size > MOST else nullcontext():
            assert rows_of(tmp_path, bytes(data))[0][2] in {"validation_error", "payload_too_large"}


def test_a_damaged_member_is_refused_alone(tmp_path: Path) -> None:
    data = zipped({"a/x.wav": ADA * 100, "b/y.wav": BOB}, zipfile.ZIP_STORED).replace(ADA, b"RIFF adb", 1)
    assert rows_of(tmp_path, data) == [(1, "a", "validation_error"), (2, "b", BOB)]


def test_an_encrypted_or_strangely_packed_member_is_refused(tmp_path: Path) -> None:
    packed = zipped({"a/x.wav": ADA * 100}, zipfile.ZIP_LZMA)
    assert rows_of(tmp_path, packed) == [(1, "a", "validation_error")]
    locked = bytearray(zipped({"a/x.wav": ADA}))
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    assert rows_of(tmp_path, bytes(locked)) == [(1, "a", "validation_error")]


def test_headers_that_ask_for_the_memory_are_refused(tmp_path: Path) -> None:
    for kind in (b"L", b"x", b"K"):  # GNU long name, pax header, long link
        info = tarfile.TarInfo("huge")
        info.size = 50_000_000
        header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        header[156:157] = kind
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        with pytest.raises(MalformedRequest):
            rows_of(tmp_path, bytes(header) + bytes(3_000_000))


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_no_cut_and_no_changed_byte_gets_through_as_anything_else(tmp_path: Path, pack: Any) -> None:
    """Whatever happens to an archive, it is read or refused; nothing else is ever raised."""
    whole = pack({"manifest.csv": MANIFEST, "a/1.wav": ADA, "b.wav": BOB})
    step = max(1, len(whole) // 150)
    for place in range(0, len(whole), step):
        for data in (whole[:place], whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]):
            try:
                rows_of(tmp_path, data)
            except TimbreError:
                continue


# ---------------------------------------------------------------- JSON lines


def test_json_lines(tmp_path: Path) -> None:
    lines = [
        {"speaker_id": "ada", "audio": base64.b64encode(ADA).decode(), "display_name": "Ada"},
        {"type": "speaker", "speaker_id": "ada"},
        {"speaker_id": "bob", "audio": "not base64!"},
        {"speaker_id": "bob"},
        {"speaker_id": "bob", "audio": base64.b64encode(bytes(LIMIT + 1)).decode()},
        {"speaker_id": "bob", "audio": base64.b64encode(bytes(2 * LIMIT)).decode()},
    ]
    data = b"\xef\xbb\xbf" + b"\n".join(json.dumps(line).encode() for line in lines) + b"\n\nnonsense"
    found = rows_of(tmp_path, data)
    assert found == [
        (1, "ada", ADA),
        (2, "ada", "audio_missing"),
        (3, "bob", "validation_error"),
        (4, "bob", "audio_missing"),
        (5, "bob", "payload_too_large"),
        (6, "payload_too_large", "audio_missing"),
        (7, "malformed_request", "audio_missing"),
    ]
    assert rows_of(tmp_path, data, after=6) == found[6:]


@pytest.mark.parametrize("data", [b"", b"RIFF\0\0\0\0WAVE", b"[1]\n", b"\n\n", b"\x00" * 600, b"{"])
def test_what_is_no_import_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(MalformedRequest):
        rows_of(tmp_path, data)


def test_deeply_nested_json_is_refused(tmp_path: Path) -> None:
    good = json.dumps({"speaker_id": "ada", "audio": base64.b64encode(ADA).decode()}).encode()
    nested = b'{"a":' * 100_000
    assert rows_of(tmp_path, good + b"\n" + nested)[1][1] == "malformed_request"
