import numpy as np
import pytest

from training.corpus import Corpus, corpus_of
from training.pairs import Balance, Crops
from training.timelines import TimelinePairs, by_speech, draw_pairs, pairs_of_all, timelines


@pytest.fixture
def talk() -> Corpus:
    """Samples count up from 0; speaker b has most speech, then a, then c; their recordings take turns."""
    lengths = [30, 40, 10, 20, 25, 5]
    speakers = ["a", "b", "c", "a", "b", "c"]
    rows = [(f"u{i}", who, "home", n) for i, (who, n) in enumerate(zip(speakers, lengths, strict=True))]
    return corpus_of(np.arange(sum(lengths), dtype=np.int16), rows)


def test_most_speech_first(talk: Corpus) -> None:
    assert [talk.speaker_ids[number] for number in by_speech(talk)] == ["b", "a", "c"]


def test_a_timeline_is_cut_at_four_fifths_of_it(talk: Corpus) -> None:
    chosen = by_speech(talk)[:2]
    first, last = timelines(talk, chosen, end=0.8), timelines(talk, chosen, begin=0.8)
    assert first.speaker_ids == last.speaker_ids == ["a", "b"]
    whole = {"a": [*range(30), *range(80, 100)], "b": [*range(30, 70), *range(100, 125)]}
    for part, begin, end in ((first, {"a": 0, "b": 0}, {"a": 40, "b": 52}), (last, {"a": 40, "b": 52}, {})):
        for row, name in enumerate(part.utterance_ids):
            start = part.offsets[row]
            heard = part.samples[start : start + part.lengths[row]].tolist()
            assert heard == whole[name][begin[name] : end.get(name)]


def test_a_full_epoch_has_a_hundred_of_each_and_twenty_five_of_each_two() -> None:
    assert pairs_of_all(34, 100, 25) == (3400, 14_025)
    pairs = draw_pairs(34, 17_425, 100, 25, np.random.default_rng(0))
    found, counts = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
    assert len(found) == 34 + 34 * 33 // 2
    assert set(counts[found[:, 0] == found[:, 1]]) == {100}
    assert set(counts[found[:, 0] != found[:, 1]]) == {25}


def test_a_scaled_epoch_keeps_the_proportion_and_is_even() -> None:
    pairs = draw_pairs(34, 1000, 100, 25, np.random.default_rng(0))
    same = pairs[:, 0] == pairs[:, 1]
    assert same.sum() == round(1000 * 3400 / 17_425)
    assert np.ptp(np.bincount(pairs[same, 0], minlength=34)) == 1
    assert set(np.unique(np.sort(pairs[~same], axis=1), axis=0, return_counts=True)[1]) == {1, 2}


def test_batches_say_who_is_one_speaker_and_can_be_drawn_again(talk: Corpus) -> None:
    def batch(epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        crops = Crops(timelines(talk, np.arange(3)), None, 3 / 16_000)
        data = TimelinePairs(crops, Balance(), batch=10, steps=4, similar=2, dissimilar=4)
        data.epoch = epoch
        waveforms, target = data[index]
        return np.round(waveforms * 32767).astype(int), target["distance"]

    total = 0.0
    for index in range(4):
        waveforms, same = batch(1, index)
        assert waveforms.shape == (20, 3)
        owner = np.repeat([0, 1, 2, 0, 1, 2], [30, 40, 10, 20, 25, 5])[waveforms[:, 0]]
        assert (owner[0::2] == owner[1::2]).tolist() == same.astype(bool).tolist()
        total += same.sum()
    assert total == round(40 * 6 / 18)
    np.testing.assert_array_equal(batch(1, 2)[0], batch(1, 2)[0])
    assert not np.array_equal(batch(1, 2)[0], batch(2, 2)[0])


def test_one_speaker_gives_no_dissimilar_pair(talk: Corpus) -> None:
    crops = Crops(timelines(talk, np.arange(1)), None, 0.01)
    with pytest.raises(ValueError, match="two speakers"):
        TimelinePairs(crops, Balance(), batch=2, steps=1, similar=1, dissimilar=1)
