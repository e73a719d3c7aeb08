import numpy as np
import pytest

from app.arrays import Waveform
from training.corpus import Corpus
from training.pairs import Balance, Crops, ImpostorBatches, PairBatches, SpeakerBatches

COUNTS = {"big": [4, 4, 4, 4, 4, 4], "small": [1, 3]}


@pytest.fixture
def levels() -> Corpus:
    """Each recording is a constant of its own, so that a crop says where it is from."""
    speakers, sets, speaker = [], [], 0
    for name, counts in COUNTS.items():
        for count in counts:
            speakers += [speaker] * count
            sets += [name] * count
            speaker += 1
    n = len(speakers)
    return Corpus(
        samples=np.repeat(np.arange(1, n + 1, dtype=np.int16) * 100, 2000),
        offsets=np.arange(n) * 2000,
        lengths=np.full(n, 2000),
        speakers=np.array(speakers),
        sets=sets,
        speaker_ids=[f"s{i}" for i in range(speaker)],
        utterance_ids=[f"u{i}" for i in range(n)],
    )


def recording(crop: Waveform) -> int:
    assert np.ptp(crop) == 0
    return round(float(crop[0]) * 32767 / 100) - 1


def test_labels_say_who_speaks(levels: Corpus) -> None:
    data = SpeakerBatches(Crops(levels, None, 0.05), Balance(), batch=6, steps=3, per_speaker=2)
    for i in range(3):
        crops, labels = data[i]
        assert crops.shape == (6, 800)
        assert [levels.speakers[recording(c)] for c in crops] == labels.tolist()
        assert len(set(labels.tolist())) == 3


def test_a_batch_can_be_drawn_again(levels: Corpus) -> None:
    def draw(epoch: int, index: int) -> list[int]:
        data = SpeakerBatches(Crops(levels, None, 0.05), Balance(), batch=8, steps=3)
        data.epoch = epoch
        return [recording(c) for c in data[index][0]]

    assert draw(2, 1) == draw(2, 1)
    assert draw(2, 1) != draw(3, 1)


def test_another_speed_is_another_speaker(levels: Corpus) -> None:
    crops = Crops(levels, None, 0.05, speeds=(1.0, 1.1))
    assert crops.classes == 16
    labels = np.concatenate(
        [SpeakerBatches(crops, Balance(), batch=8, steps=1, seed=s)[0][1] for s in range(6)]
    )
    assert labels.max() >= 8
    assert crops.draw(8, np.random.default_rng(0)).shape == (800,)


def test_balance_lifts_the_small_set(levels: Corpus) -> None:
    proportional = Balance(hours=1.0, speakers=0.0, clips=1.0).weights(levels)
    lifted = Balance().weights(levels)
    assert proportional.sum() == pytest.approx(1)
    assert lifted.sum() == pytest.approx(1)
    assert proportional[6:].sum() == pytest.approx(4 / 28)
    assert lifted[6:].sum() > 1.5 * proportional[6:].sum()


def test_half_of_the_pairs_are_of_one_speaker(levels: Corpus) -> None:
    data = PairBatches(Crops(levels, None, 0.05), Balance(), batch=40, steps=2)
    (left, right), same = data[0]
    assert same.sum() == 20
    for a, b, s in zip(left, right, same, strict=True):
        one, other = recording(a), recording(b)
        assert (levels.speakers[one] == levels.speakers[other]) == bool(s)
        assert levels.sets[one] == levels.sets[other]
        if s:
            assert one != other


def test_a_corpus_without_dissimilar_pairs_is_refused(levels: Corpus) -> None:
    alone = Corpus(
        levels.samples,
        levels.offsets[:2],
        levels.lengths[:2],
        np.zeros(2, np.int64),
        ["a", "a"],
        ["s0"],
        ["u0", "u1"],
    )
    with pytest.raises(ValueError, match="dissimilar"):
        PairBatches(Crops(alone, None, 0.05), Balance(), batch=4, steps=1)


def test_impostors_of_a_batch_are_of_one_set_and_one_speed(levels: Corpus) -> None:
    crops = Crops(levels, None, 0.05, speeds=(1.0, 1.1))
    for seed in range(5):
        data = ImpostorBatches(crops, Balance(), batch=12, steps=1, seed=seed, per_speaker=2, together=3)
        waveforms, who = data[0]
        assert waveforms.shape == (12, 800)
        assert who["speakers"].tolist() == who["embedding"][:, 0].tolist()
        for half in (slice(0, 6), slice(6, 12)):
            assert len(set(who["embedding"][half, 1])) == 1
            assert len(set(who["speakers"][half] // 8)) == 1
        # The one speaker with a single recording has no pair to learn from.
        assert 6 not in who["speakers"] % 8


def test_several_crops_of_a_speaker_are_of_different_recordings(levels: Corpus) -> None:
    data = SpeakerBatches(Crops(levels, None, 0.05), Balance(), batch=12, steps=1, per_speaker=3)
    crops, _ = data[0]
    for start in range(0, 12, 3):
        assert len({recording(c) for c in crops[start : start + 3]}) == 3


def test_a_batch_that_cannot_be_divided_is_refused(levels: Corpus) -> None:
    with pytest.raises(ValueError, match="multiple"):
        SpeakerBatches(Crops(levels, None, 0.05), Balance(), batch=10, steps=1, per_speaker=2, together=3)
