"""Several voices in one recording, and windows that wait their turn, on the tiny model."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from app.audio import Utterance, prepare
from app.errors import SeveralVoices
from app.main import create_app
from app.service.access import call_of
from app.service.call import Call
from app.service.voices_apart import voices_in
from app.service.windowed import embed_windows
from tests.served import serving_app, settings_for, wav
from tests.tiny import write_tiny_model
from training.signals import speech_like


@pytest.fixture
def call(tmp_path: Path, sqlite_url: str) -> Iterator[Call]:
    """A call with one place before the model."""
    write_tiny_model(tmp_path / "models" / "tiny")
    settings = settings_for(tmp_path / "models", sqlite_url, inference_workers=1, inference_timeout_s=5.0)
    app = create_app(settings)
    with serving_app(app):
        yield call_of(app.state.parts, "default")


def utterance(*speakers: int, seconds: float = 3.0) -> Utterance:
    spoken = [speech_like(seconds, speaker=speaker, take=take) for take, speaker in enumerate(speakers)]
    return prepare(wav(np.concatenate(spoken)), max_duration_s=120.0)


def test_two_voices_are_several_one_is_not_and_a_word_is_not_asked(call: Call) -> None:
    one = voices_in(call, utterance(1, 1))
    assert (one.count, one.refusal) == (1, None)
    assert one.score is not None
    assert one.score < one.threshold
    two = voices_in(call, utterance(1, 2))
    assert two.count == 2
    assert isinstance(two.refusal, SeveralVoices)
    assert two.refusal.score >= two.refusal.threshold
    short = voices_in(call, utterance(1, 2, seconds=1.5))
    assert (short.count, short.score, short.refusal) == (1, None, None)


def test_windows_do_not_depend_on_each_other(call: Call) -> None:
    heard = utterance(1, 2)
    found = embed_windows(call, heard)
    alone = call.embedder.embed(heard.waveform[:24_000])
    np.testing.assert_array_equal(found.embeddings[0], alone)
    assert found.seconds.sum() == pytest.approx(len(heard.waveform) / 16_000)


@contextmanager
def crowded(call: Call) -> Iterator[None]:
    """The one place before the model is taken."""
    entered, leave = threading.Event(), threading.Event()

    def stay(_: object) -> None:
        entered.set()
        leave.wait(10)

    with ThreadPoolExecutor(1) as pool:
        staying = pool.submit(call.embedder._admission.run, stay)
        assert entered.wait(5)
        try:
            yield
        finally:
            leave.set()
            staying.result()


def test_it_waits_for_its_turn_and_lets_others_in(call: Call) -> None:
    heard = utterance(*[1] * 10)
    alone = embed_windows(call, heard)
    with ThreadPoolExecutor(2) as pool:
        with crowded(call):
            working = pool.submit(embed_windows, call, heard)
            other = pool.submit(call.embedder.embed, heard.waveform[:24_000])
            order: list[object] = []
            working.add_done_callback(order.append)
            other.add_done_callback(order.append)
        np.testing.assert_array_equal(working.result().embeddings, alone.embeddings)
    assert order == [other, working], "not all of its windows come first"
