"""Miniatures of the corpora of the field, with real speech in the formats that they come in."""

import csv
from pathlib import Path

import pytest

from tests.codecs import encode
from tests.speech import say
from training.corpus import load_corpus, read_manifest
from training.importers import (
    LayoutNotFound,
    Row,
    common_voice,
    librispeech,
    main,
    voxceleb,
    with_dev_speakers,
)
from training.metrics import read_trials


def put(path: Path, kind: str, take: int = 0, voice: str = "ada") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(say(take, voice)[:16_000], kind))


def columns(manifest: Path, *names: str) -> list[tuple[str, ...]]:
    with manifest.open(newline="") as file:
        return [tuple(row[name] for name in names) for row in csv.DictReader(file)]


@pytest.fixture
def vox(tmp_path: Path) -> Path:
    root = tmp_path / "VoxCeleb"
    put(root / "vox1_dev_wav/wav/id10001/1zcIwhmdeo4/00001.wav", "wav", 0)
    put(root / "vox1_dev_wav/wav/id10001/7gWzIy6yIIk/00002.wav", "wav", 1)
    for video, take in (("5r0dWxy17C8", 0), ("5sJomL_D0_g", 1)):
        put(root / f"vox1_test_wav/wav/id10270/{video}/00001.wav", "wav", take, "dan")
    put(root / "vox1_test_wav/wav/id10309/0b1inHMAr6o/00001.wav", "wav", 0, "fay")
    put(root / "vox2/dev/aac/id00012/21Uxsk56VDQ/00001.m4a", "m4a", 0, "cleo")
    put(root / "vox2/test/aac/id00017/01dfn2spqyE/00001.m4a", "m4a", 0, "emil")
    (root / "vox1_meta.csv").write_text(
        "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
        "id10001\tA.J._Buckley\tm\tIreland\tdev\nid10270\tEartha_Kitt\tf\tUSA\ttest\n"
    )
    (root / "vox2_meta.csv").write_text(
        "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid00012 ,n000012 ,f ,dev \n"
    )
    return root


def test_voxceleb_is_imported_with_its_trials(vox: Path, tmp_path: Path) -> None:
    (tmp_path / "veri_test.txt").write_text(
        "1 id10270/5r0dWxy17C8/00001.wav id10270/5sJomL_D0_g/00001.wav\n"
        "0 id10270/5r0dWxy17C8/00001.wav id10309/0b1inHMAr6o/00001.wav\n"
    )
    manifest = tmp_path / "out/vox.csv"
    trials = str(tmp_path / "veri_test.txt")
    assert main(["voxceleb", str(vox), "--out", str(manifest), "--dev-share", "0", "--trials", trials]) == 0
    assert columns(manifest, "utterance_id", "set", "split", "session", "gender") == [
        ("id10001/1zcIwhmdeo4/00001", "voxceleb1", "train", "1zcIwhmdeo4", "m"),
        ("id10001/7gWzIy6yIIk/00002", "voxceleb1", "train", "7gWzIy6yIIk", "m"),
        ("id10270/5r0dWxy17C8/00001", "voxceleb1", "test", "5r0dWxy17C8", "f"),
        ("id10270/5sJomL_D0_g/00001", "voxceleb1", "test", "5sJomL_D0_g", "f"),
        ("id10309/0b1inHMAr6o/00001", "voxceleb1", "test", "0b1inHMAr6o", ""),
        ("id00012/21Uxsk56VDQ/00001", "voxceleb2", "train", "21Uxsk56VDQ", "f"),
        ("id00017/01dfn2spqyE/00001", "voxceleb2", "test", "01dfn2spqyE", ""),
    ]
    found = read_trials(tmp_path / "out/trials/veri_test.txt")
    assert found.labels.tolist() == [1, 0]
    assert set(found.enroll) | set(found.test) <= {u for (u,) in columns(manifest, "utterance_id")}


def test_a_manifest_is_a_corpus_that_can_be_decoded(vox: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "elsewhere/vox.csv"
    assert main(["voxceleb", str(vox), "--out", str(manifest)]) == 0
    assert not any(Path(path).is_absolute() for (path,) in columns(manifest, "path"))
    corpus = load_corpus(read_manifest(manifest), tmp_path / "cache")
    assert len(corpus) == 7
    assert min(corpus.lengths) > 14_000


def test_a_trial_of_a_missing_recording_is_an_error(
    vox: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = tmp_path / "veri_test.txt"
    trials.write_text("1 id10270/5r0dWxy17C8/00001.wav id10270/5r0dWxy17C8/00009.wav\n0 a b\n")
    assert main(["voxceleb", str(vox), "--out", str(tmp_path / "v.csv"), "--trials", str(trials)]) == 1
    assert "3 recordings" in capsys.readouterr().err


def test_librispeech_is_imported_by_subset(tmp_path: Path) -> None:
    root = tmp_path / "LibriSpeech"
    put(root / "train-clean-100/103/1240/103-1240-0000.flac", "flac", 0)
    put(root / "train-clean-100/103/1241/103-1241-0003.flac", "flac", 1)
    put(root / "dev-clean/84/121123/84-121123-0000.flac", "flac", 0, "dan")
    put(root / "test-other/1688/142285/1688-142285-0000.flac", "flac", 0, "fay")
    (root / "train-clean-100/103/1240/103-1240.trans.txt").write_text("103-1240-0000 CHAPTER ONE\n")
    (root / "SPEAKERS.TXT").write_text(
        ";ID  |SEX| SUBSET           |MINUTES| NAME\n"
        "84   | F | dev-clean        | 8.02  | Christie Nowak\n"
        "103  | F | train-clean-100  | 24.37 | Karen Savage\n"
        "1688 | M | test-other       | 8.1   | Someone | with a bar\n"
    )
    manifest = tmp_path / "libri.csv"
    assert main(["librispeech", str(tmp_path), "--out", str(manifest)]) == 0
    assert columns(manifest, "utterance_id", "speaker_id", "split", "session", "gender", "set") == [
        ("84-121123-0000", "libri-84", "dev", "121123", "f", "librispeech"),
        ("1688-142285-0000", "libri-1688", "test", "142285", "m", "librispeech"),
        ("103-1240-0000", "libri-103", "train", "1240", "f", "librispeech"),
        ("103-1241-0003", "libri-103", "train", "1241", "f", "librispeech"),
    ]
    assert len(load_corpus(read_manifest(manifest), tmp_path / "cache")) == 4


CLIENTS = {"a": "a" * 128, "b": "b" * 128, "c": "c" * 128}


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    root = tmp_path / "cv-corpus-17.0"
    lines = {
        "en": [("a", "1", "male_masculine"), ("a", "2", ""), ("b", "3", "female"), ("c", "9", "")],
        "cy": [("a", "4", "male"), ("b", "5", "")],
    }
    head = "client_id\tpath\tsentence\tage\tgender\tlocale\n"
    for language, clips in lines.items():
        rows = []
        for client, number, gender in clips:
            name = f"common_voice_{language}_{number}.mp3"
            if number != "9":  # named in the table, and not there
                put(
                    root / language / "clips" / name,
                    "mp3",
                    int(number) % 4,
                    "gus" if client == "a" else "june",
                )
            rows.append(f'{CLIENTS[client]}\t{name}\tShe said "so\t\t{gender}\t{language}\n')
        (root / language / "validated.tsv").write_text(head + "".join(rows))
    (root / "en/test.tsv").write_text(head + f"{CLIENTS['b']}\tcommon_voice_en_3.mp3\tHi\t\t\ten\n")
    return root


def test_common_voice_is_imported_over_its_languages(voices: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "cv.csv"
    assert main(["commonvoice", str(voices), "--out", str(manifest), "--dev-share", "0"]) == 0
    rows = columns(manifest, "utterance_id", "set", "split", "gender", "language")
    assert rows == [
        ("common_voice_cy_4", "common_voice_cy", "train", "m", "cy"),
        ("common_voice_cy_5", "common_voice_cy", "test", "", "cy"),  # b is a speaker of the test in English
        ("common_voice_en_1", "common_voice_en", "train", "m", "en"),
        ("common_voice_en_2", "common_voice_en", "train", "", "en"),
        ("common_voice_en_3", "common_voice_en", "test", "f", "en"),
    ]
    assert len(load_corpus(read_manifest(manifest), tmp_path / "cache")) == 5


def test_a_client_has_one_short_label_in_every_language(voices: Path) -> None:
    speakers = {row.utterance_id: row.speaker_id for row in common_voice(voices)}
    assert speakers["common_voice_en_1"] == speakers["common_voice_en_2"] == speakers["common_voice_cy_4"]
    assert speakers["common_voice_en_1"] != speakers["common_voice_en_3"]
    assert all(len(label) == 15 and "aaa" not in label for label in speakers.values())


def test_one_language_alone_and_without_a_validated_table(voices: Path) -> None:
    (voices / "cy/validated.tsv").rename(voices / "cy/train.tsv")
    assert len(common_voice(voices / "cy")) == 2


def test_a_dev_split_is_by_speaker_and_always_the_same() -> None:
    rows = [
        Row(f"u{n}-{take}", f"s{n}", "p", "set", "test" if n < 20 else "train", "", "", "", "")
        for n in range(400)
        for take in range(2)
    ]
    split = with_dev_speakers(rows, 0.1)
    dev = {row.speaker_id for row in split if row.split == "dev"}
    assert 20 < len(dev) < 60
    assert not dev & {row.speaker_id for row in split if row.split != "dev"}
    assert [row for row in split if row.split == "test"] == rows[:40]
    assert {row.speaker_id for row in with_dev_speakers(rows[::-1], 0.1) if row.split == "dev"} == dev
    assert with_dev_speakers(split, 0.5) == split  # it has one


@pytest.mark.parametrize(
    ("importer", "expected"), [(voxceleb, "id10001"), (librispeech, "train-clean"), (common_voice, "clips")]
)
def test_another_layout_is_refused_with_what_was_expected(importer, expected: str, tmp_path: Path) -> None:
    put(tmp_path / "ann/1.wav", "wav")
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(LayoutNotFound, match=expected):
            importer(place)


def test_a_table_of_another_kind_is_refused(voices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (voices / "en/validated.tsv").write_text("path\tsentence\na\tb\n")
    assert main(["commonvoice", str(voices), "--out", str(voices / "m.csv")]) == 1
    assert "client_id" in capsys.readouterr().err
