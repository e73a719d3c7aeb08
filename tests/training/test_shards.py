"""Shards on disk, and the stream of batches out of them."""

import json
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from training.augment import AugmentConfig, Augmenter
from training.corpus import Source, load_corpus, read_folder
from training.methods.margin_softmax import Options
from training.pairs import Balance
from training.recipe import Recipe, Stage
from training.shards import ShardIndex, ShardSpeaker, bytes_of, main, read_index, read_shards, write_shards
from training.streaming import ShardedBatches, ShardedCrops
from training.train import train

COUNTS = {"a": 12, "b": 4, "c": 4, "d": 4}
ALIKE = Balance(hours=0, speakers=0, clips=1.0)
"""Every recording as often as any other."""


def level(speaker: int, take: int) -> float:
    return (20 * speaker + take + 1) / 100


def write_levels(folder: Path, counts: dict[str, int] = COUNTS) -> list[Source]:
    """Each recording is a constant of its own, so that a crop says where it is from."""
    for number, (name, takes) in enumerate(counts.items()):
        for take in range(takes):
            path = folder / name / f"{take:02d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.full(4000, level(number, take)), 16000)
    return read_folder(folder)


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    return write_levels(tmp_path / "corpus")


@pytest.fixture
def index(sources: list[Source], tmp_path: Path) -> ShardIndex:
    return write_shards(sources, tmp_path / "shards", size=50_000)


def batches(index: ShardIndex, batch: int = 8, steps: int = 3, **kwargs: object) -> ShardedBatches:
    balance = kwargs.pop("balance", ALIKE)
    speeds = kwargs.pop("speeds", (1.0,))
    crops = ShardedCrops(index, None, 0.05, speeds)  # type: ignore[arg-type]
    return ShardedBatches(crops, balance, batch, steps, **{"buffer": 4, **kwargs})  # type: ignore[arg-type]


def labels(data: ShardedBatches, count: int) -> list[int]:
    return [label for i in range(count) for label in data[i][1].tolist()]


def heard(data: ShardedBatches, count: int) -> Counter[int]:
    """How often each recording came, by its level in hundredths."""
    return Counter(round(float(crop[0]) * 100) for i in range(count) for crop in data[i][0])


def test_shards_hold_the_files_as_they_were(sources: list[Source], index: ShardIndex) -> None:
    assert len(index.files) > 3
    clips = list(read_shards(index.folder / name for name in index.files))
    assert {c.utterance_id: (c.speaker_id, c.set_name, c.audio) for c in clips} == {
        s.utterance_id: (s.speaker_id, s.set_name, s.path.read_bytes()) for s in sources
    }
    assert len(clips) == len(index) == 24
    assert [c.utterance_id for c in clips] != [s.utterance_id for s in sources]  # shuffled


def test_the_index_says_who_is_there_and_how_long(index: ShardIndex) -> None:
    again = read_index(index.folder)
    assert again == index
    assert [(s.speaker_id, s.clips, s.seconds) for s in again.speakers] == [
        ("a", 12, 3.0), ("b", 4, 1.0), ("c", 4, 1.0), ("d", 4, 1.0)
    ]  # fmt: skip


def test_what_cannot_be_decoded_is_left_out(sources: list[Source], tmp_path: Path) -> None:
    sources[3].path.write_bytes(b"RIFF no more")
    index = write_shards(sources, tmp_path / "shards", 10**9)
    assert len(index) == 23
    assert len(index.files) == 1
    with pytest.raises(ValueError, match="could be decoded"):
        write_shards([sources[3]], tmp_path / "none", 10**9)


def test_folders_that_are_no_shards_are_refused(
    index: ShardIndex, sources: list[Source], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="already"):
        write_shards(sources, index.folder, 10**9)
    with pytest.raises(ValueError, match=r"no index\.json"):
        read_index(tmp_path)
    (index.folder / index.files[1]).unlink()
    with pytest.raises(ValueError, match=index.files[1]):
        read_index(index.folder)
    (index.folder / "index.json").write_text(json.dumps({"format": 7}))
    with pytest.raises(ValueError, match="format 7"):
        read_index(index.folder)


@pytest.mark.parametrize(
    ("text", "count"), [("500MB", 500_000_000), ("2 gb", 2 * 10**9), ("1.5k", 1500), ("77", 77)]
)
def test_sizes_are_read(text: str, count: int) -> None:
    assert bytes_of(text) == count
    with pytest.raises(ValueError, match="no size"):
        bytes_of(text + " apples")


def test_the_command_writes_what_training_reads(sources: list[Source], tmp_path: Path) -> None:
    out = tmp_path / "written"
    assert main(["write", "--corpus", str(tmp_path / "corpus"), "--out", str(out), "--size", "50kB"]) == 0
    assert len(read_index(out)) == 24
    assert main(["write", "--corpus", str(tmp_path / "corpus"), "--out", str(out)]) == 1


def test_labels_say_who_speaks(index: ShardIndex) -> None:
    data = batches(index, speeds=(1.0, 1.25))
    allowed = [[round(100 * level(n, k)) for k in range(takes)] for n, takes in enumerate(COUNTS.values())]
    seen = set()
    for i in range(3):
        crops, classes = data[i]
        assert crops.shape == (8, 800)
        assert crops.dtype == np.float32
        for crop, label in zip(crops, classes, strict=True):
            source = round(float(np.median(crop)) * 100)
            assert source in allowed[label % 4]
            seen.add(int(label) // 4)
    assert seen == {0, 1}
    data.close()


def test_an_epoch_can_be_drawn_again_and_no_two_are_alike(index: ShardIndex) -> None:
    data, other = batches(index), batches(index)
    other.epoch = data.epoch = 5
    first = [data[i] for i in range(3)]
    np.testing.assert_array_equal(first[2][0], other[2][0])  # asked for out of turn
    np.testing.assert_array_equal(first[0][0], data[0][0])
    data.epoch = 6
    assert any((data[i][1] != first[i][1]).any() for i in range(3))
    for stream in (data, other):
        stream.close()


def test_a_reading_brings_every_recording_and_processes_share_them(index: ShardIndex) -> None:
    whole = batches(index, batch=24, readers=1, buffer=1)
    assert set(heard(whole, 1).values()) == {1}
    halves = [batches(index, batch=24, readers=1, buffer=1, part=(number, 2)) for number in (0, 1)]
    one, other = (heard(half, 3) for half in halves)
    assert not set(one) & set(other)
    assert set(one) | set(other) == set(heard(whole, 1))
    for stream in (whole, *halves):
        stream.close()
    with pytest.raises(ValueError, match="too few"):
        batches(index, part=(8, 9))


def test_balance_decides_how_often_a_speaker_comes(index: ShardIndex) -> None:
    alike = batches(index, batch=32, balance=Balance(clips=0.0), readers=1)
    share = Counter(labels(alike, 12))[0] / (32 * 12)
    alike.close()
    assert share == pytest.approx(0.25, abs=0.06)  # by its recordings it would be 0.5


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    clip = 64_044  # bytes of 2 s
    rng = np.random.default_rng(0)

    def peak(clips: int) -> int:
        for i in range(clips):
            path = tmp_path / f"{clips}/s{i % 5}/{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.uniform(-0.5, 0.5, 32_000), 16000)
        index = write_shards(read_folder(tmp_path / str(clips)), tmp_path / f"shards{clips}", 600_000)
        data = batches(index, batch=4, buffer=8, readers=2)
        data[0]
        tracemalloc.start()
        for i in range(clips // 4):  # every recording once
            data[i]
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        data.close()
        return highest

    small, large = peak(40), peak(240)
    assert large < 1.3 * small
    assert large < 240 * clip / 4


def test_who_is_kept_aside_is_not_heard(index: ShardIndex, sources: list[Source], tmp_path: Path) -> None:
    corpus = load_corpus(sources, tmp_path / "cache")
    share = 0.6
    others, aside = index.divided(share)
    assert others.speaker_ids == list(corpus.divided(share)[0].speaker_ids)
    assert aside.speaker_ids == list(corpus.divided(share)[1].speaker_ids)
    assert others.speakers
    assert aside.speakers
    data = batches(others)
    number = {name: i for i, name in enumerate(COUNTS)}
    allowed = {
        round(100 * level(number[s.speaker_id], take)) for s in others.speakers for take in range(s.clips)
    }
    assert set(heard(data, 6)) <= allowed
    data.close()
    few = aside.few_recordings(tmp_path / "aside", most=3)
    assert list(few.speaker_ids) == aside.speaker_ids
    assert np.bincount(few.speakers).tolist() == [3] * len(aside.speakers)


def test_the_other_voices_of_babble_are_those_of_the_batch(index: ShardIndex) -> None:
    babble = AugmentConfig(
        noise=0, room=0, device=0, telephone=0, codec=0, babble=1.0, gain_db=(0, 0), simulated_rooms=0
    )
    crops = ShardedCrops(index, Augmenter(babble, None, None), 0.05)
    data = ShardedBatches(crops, ALIKE, 8, 1, buffer=4)
    # Constants among constants: still flat, and at the peak that the level asks for.
    assert all(np.ptp(crop) < 1e-6 and crop.max() == pytest.approx(1, abs=1e-6) for crop in data[0][0])
    assert crops.augmenter is not None
    assert crops.augmenter.voices is None  # a batch's voices do not outlive it
    data.close()


@pytest.mark.parametrize(
    "stage",
    [
        Stage("contrastive", epochs=1),
        Stage("margin_softmax", epochs=1, batch=8, options=Options(per_speaker=2)),
    ],
    ids=["pairs", "several of a speaker"],
)
def test_what_a_stream_cannot_give_is_refused(stage: Stage, index: ShardIndex, tmp_path: Path) -> None:
    quiet = AugmentConfig(simulated_rooms=0)
    with pytest.raises(ValueError, match="margin_softmax"):
        train(Recipe(stage=(stage,), augment=quiet), index, tmp_path / "run")


def test_a_reader_whose_shards_hold_nobody_says_so(index: ShardIndex) -> None:
    nobody = ShardIndex(index.folder, index.files, (ShardSpeaker("stranger", "corpus", 2, 1.0),))
    with pytest.raises(ValueError, match="kept aside"):
        batches(nobody)[0]
