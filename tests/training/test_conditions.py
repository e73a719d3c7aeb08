from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.arrays import Waveform
from app.embedder import Embedder
from tests.speech import DATA, clip, voices
from tests.tiny import write_tiny_model
from training.changes import Condition, cut_to, wav
from training.conditions import Changed, measure_conditions
from training.corpus import Source
from training.metrics import Trials
from training.scored import Enrolments, features_of

VOICES, TAKES = voices()[:3], range(3)
SOURCES = [
    Source(f"{voice}-{take}", voice, DATA / f"{voice}-{take + 1}.opus", "home", "dev")
    for voice in VOICES
    for take in TAKES
]
NAMES = [source.utterance_id for source in SOURCES]
PAIRS = [(a, b) for a in NAMES for b in NAMES if a != b]
TRIALS = Trials(
    np.array([int(a[:-2] == b[:-2]) for a, b in PAIRS]), [a for a, _ in PAIRS], [b for _, b in PAIRS]
)


def as_it_is(waveform: Waveform, _: np.random.Generator) -> bytes:
    return wav(waveform)


def silenced(waveform: Waveform, rng: np.random.Generator) -> bytes:
    """Half of the recordings, chosen by their own random numbers, fall silent."""
    return wav(np.zeros_like(waveform) if rng.random() < 0.5 else waveform)


def long_enough(waveform: Waveform, rng: np.random.Generator) -> bytes | None:
    return cut_to(waveform, rng, speech_s=60.0)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedder]:
    made = Embedder.load(write_tiny_model(tmp_path_factory.mktemp("conditions") / "tiny"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def changed(embedder: Embedder) -> dict[str, Changed]:
    features = {
        f"{voice}-{take}": features_of(clip(voice, take), embedder) for voice in VOICES for take in TAKES
    }
    conditions = [
        Condition("codec", "as it is", as_it_is),
        Condition("noise", "silenced", silenced),
        Condition("speech", "a minute", long_enough),
    ]
    found = measure_conditions(
        {"home": TRIALS},
        SOURCES,
        Enrolments(SOURCES, features, required_s=3.0),
        embedder,
        conditions,
        clips=6,
    )
    return {each.condition.name: each for each in found}


def test_a_change_that_changes_nothing_gives_the_same_scores(changed: dict[str, Changed]) -> None:
    new, old = changed["as it is"].measured["home"], changed["as it is"].untouched["home"]
    np.testing.assert_allclose(new.scores, old.scores, atol=1e-3)
    np.testing.assert_allclose(new.enrolled, old.enrolled, atol=1e-3)
    assert not np.isnan(new.enrolled).any()
    assert changed["as it is"].refused == 0


def test_only_as_many_tested_recordings_are_changed_and_all_of_their_trials_kept(
    changed: dict[str, Changed],
) -> None:
    found = changed["as it is"].measured["home"]
    assert len(set(found.test.tolist())) == 6
    assert len(found.test) == 6 * (len(NAMES) - 1)


def test_a_recording_without_speech_left_is_counted_and_not_scored(changed: dict[str, Changed]) -> None:
    each = changed["silenced"]
    left = set(each.measured["home"].test.tolist())
    assert 0 < each.refused < 1
    assert each.refused == pytest.approx(1 - len(left) / 6)
    assert set(each.untouched["home"].test.tolist()) == left


def test_what_no_recording_has_is_not_measured(changed: dict[str, Changed]) -> None:
    assert changed["a minute"].measured == {}
    assert changed["a minute"].refused == 0


def test_a_file_that_is_gone_is_an_error(embedder: Embedder, tmp_path: Path) -> None:
    features = {name: features_of(clip(VOICES[0]), embedder) for name in ("a", "b")}
    sources = [Source(name, name, tmp_path / name, "home", "dev") for name in ("a", "b")]
    trials = Trials(np.array([1, 0]), ["a", "a"], ["b", "b"])
    with pytest.raises(FileNotFoundError):
        measure_conditions(
            {"home": trials}, sources, Enrolments(sources, features, 1.0), embedder,
            [Condition("codec", "as it is", as_it_is)], clips=1,
        )  # fmt: skip
