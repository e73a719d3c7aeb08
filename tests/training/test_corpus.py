from pathlib import Path

import numpy as np
import pytest
import soundfile

from training.corpus import (
    Corpus,
    Silence,
    load_corpus,
    read_folder,
    read_manifest,
    read_sources,
    split_silence,
)


def test_a_manifest_is_read_by_split(miniature: Path) -> None:
    train = read_manifest(miniature / "utterances.csv", "train")
    dev = read_manifest(miniature / "utterances.csv", "dev")
    assert len(train) == 20
    assert len(dev) == 12
    assert not {s.speaker_id for s in train} & {s.speaker_id for s in dev}
    assert all(s.path.exists() for s in train + dev)


def test_a_manifest_without_a_column_says_which(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("utterance_id,path\na,b\n")
    with pytest.raises(ValueError, match="speaker_id"):
        read_manifest(tmp_path / "m.csv")


def test_a_split_that_is_not_there_is_an_error(miniature: Path) -> None:
    with pytest.raises(ValueError, match="'test'"):
        read_manifest(miniature / "utterances.csv", "test")


def test_a_folder_per_speaker_is_a_corpus(tmp_path: Path) -> None:
    for name in ("ann/1.wav", "ann/day2/2.flac", "bob/1.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, np.full(800, 0.1), 16000)
    (tmp_path / "ann/notes.txt").write_text("no audio")
    sources = read_sources(tmp_path)
    assert [(s.utterance_id, s.speaker_id) for s in sources] == [
        ("ann/1.wav", "ann"),
        ("ann/day2/2.flac", "ann"),
        ("bob/1.wav", "bob"),
    ]


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="SPEAKER"):
        read_folder(tmp_path)


def test_recordings_come_back_as_they_were(miniature: Path, tmp_path: Path) -> None:
    sources = read_manifest(miniature / "utterances.csv", "train")
    corpus = load_corpus(sources, tmp_path)
    assert len(corpus) == len(sources)
    for i in (0, 7, len(sources) - 1):
        original, _ = soundfile.read(sources[i].path, dtype="float32")
        np.testing.assert_allclose(corpus.waveform(i), original, atol=1e-4)
        assert corpus.speaker_ids[corpus.speakers[i]] == sources[i].speaker_id


def test_decoding_happens_once(miniature: Path, tmp_path: Path) -> None:
    sources = read_manifest(miniature / "utterances.csv", "dev")
    first = load_corpus(sources, tmp_path)
    written = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.i16")}
    second = load_corpus(sources, tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.i16")} == written
    np.testing.assert_array_equal(first.waveform(3), second.waveform(3))


def test_a_cache_that_was_cut_short_is_not_used(miniature: Path, tmp_path: Path) -> None:
    sources = read_manifest(miniature / "utterances.csv", "dev")
    whole = load_corpus(sources, tmp_path).waveform(11)
    (table,) = tmp_path.rglob("table.json")
    table.unlink()
    next(tmp_path.rglob("*.i16")).write_bytes(b"\0\0")
    np.testing.assert_array_equal(load_corpus(sources, tmp_path).waveform(11), whole)


def test_an_undecodable_recording_is_left_out(miniature: Path, tmp_path: Path) -> None:
    sources = read_manifest(miniature / "utterances.csv", "dev")
    broken = tmp_path / "broken.flac"
    broken.write_bytes(b"fLaC" + bytes(100))
    spoilt = type(sources[0])("broken", "nobody", broken, "set0", "dev")
    corpus = load_corpus([spoilt, *sources], tmp_path / "cache")
    assert len(corpus) == len(sources)
    assert "nobody" not in corpus.speaker_ids


def test_crops_have_the_length_asked_for(miniature: Path, tmp_path: Path) -> None:
    corpus = load_corpus(read_manifest(miniature / "utterances.csv", "train"), tmp_path)
    rng = np.random.default_rng(0)
    for length in (1, 400, 16000, 25600, 60000):
        crop = corpus.crop(2, length, rng)
        assert crop.shape == (length,)
        assert crop.dtype == np.float32


def test_silence_is_split_off_and_the_rest_is_kept() -> None:
    tone = (0.3 * np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)).astype(np.float32)
    waveform = np.concatenate([tone, np.zeros(32000, np.float32), tone])
    kept = split_silence(waveform, Silence())
    # Two seconds of tone, and 100 ms of silence kept at each side of the pause.
    assert 2.0 <= len(kept) / 16000 <= 2.5
    np.testing.assert_allclose(np.max(np.abs(kept)), 0.3, atol=1e-3)


def test_a_recording_that_is_all_silence_is_kept_whole() -> None:
    quiet = np.full(16000, 1e-4, np.float32)
    np.testing.assert_array_equal(split_silence(quiet, Silence()), quiet)


def test_the_ends_of_a_recording_are_cut_off_where_asked() -> None:
    tone = (0.3 * np.sin(2 * np.pi * 220 * np.arange(48000) / 16000)).astype(np.float32)
    inside = split_silence(tone, Silence(ends_s=1.0))
    np.testing.assert_allclose(inside, tone[16000:32000], atol=1e-4)
    assert len(split_silence(tone, Silence(ends_s=1.5))) == 48000


def many(names: list[str]) -> Corpus:
    """Two recordings of each speaker, each a constant of its own."""
    count = 2 * len(names)
    return Corpus(
        samples=np.repeat(np.arange(count, dtype=np.int16), 10),
        offsets=np.arange(count) * 10,
        lengths=np.full(count, 10),
        speakers=np.repeat(np.arange(len(names)), 2),
        sets=["even" if i // 2 % 2 == 0 else "odd" for i in range(count)],
        speaker_ids=names,
        utterance_ids=[f"{names[i // 2]}-{i % 2}" for i in range(count)],
    )


def test_a_share_of_the_speakers_is_kept_aside_with_all_they_said() -> None:
    corpus = many([f"s{i}" for i in range(300)])
    others, aside = corpus.divided(0.2)
    assert 40 <= len(aside.speaker_ids) <= 80
    assert sorted([*others.speaker_ids, *aside.speaker_ids]) == sorted(corpus.speaker_ids)
    place = {name: i for i, name in enumerate(corpus.utterance_ids)}
    for part in (others, aside):
        assert len(part) == 2 * len(part.speaker_ids)
        for i, name in enumerate(part.utterance_ids):
            assert part.speaker_ids[part.speakers[i]] == name.split("-")[0]
            assert part.sets[i] == corpus.sets[place[name]]
            np.testing.assert_array_equal(part.waveform(i), corpus.waveform(place[name]))


def test_who_is_kept_aside_follows_from_the_label_alone() -> None:
    names = [f"s{i}" for i in range(300)]
    kept = set(many(names).divided(0.2)[1].speaker_ids)
    assert set(many(names[::-3]).divided(0.2)[1].speaker_ids) == kept & set(names[::-3])
    assert kept < set(many(names).divided(0.4)[1].speaker_ids)


def test_no_share_keeps_nobody() -> None:
    corpus = many(["a", "b"])
    others, aside = corpus.divided(0.0)
    assert others.utterance_ids == corpus.utterance_ids
    assert len(aside) == 0
