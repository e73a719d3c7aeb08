"""What a decoder can do to the server that asks it: say something false, and nothing worse."""

import os
import time
from collections.abc import Iterator

import numpy as np
import pytest

from app.audio import prepare
from app.audio.nursery import Nursery
from app.audio.workers import DecoderPool
from app.errors import AudioUndecodable
from tests.audio.liar import LIES
from tests.speech import clip


@pytest.fixture(scope="module")
def liars() -> Iterator[DecoderPool]:
    nursery = Nursery("tests.audio.liar:main")
    pool = DecoderPool(1, 1.5, 20.0, nursery=nursery)
    yield pool
    pool.close()
    nursery.close()


@pytest.mark.parametrize("lie", [*LIES, "an endless frame"])
def test_nonsense_refuses_the_recording_and_ends_the_decoder(liars: DecoderPool, lie: str) -> None:
    before = liars.pids
    with pytest.raises(AudioUndecodable, match="crashes the decoder"):
        liars.prepare(b"fLaC" + lie.encode())
    assert not before & liars.pids
    assert "TIMBRE_OWNED" not in os.environ


def test_half_an_answer_is_waited_for_no_longer_than_a_whole_one(liars: DecoderPool) -> None:
    started = time.monotonic()
    with pytest.raises(AudioUndecodable, match=r"longer than 1\.5 s"):
        liars.prepare(b"fLaChalf a frame")
    assert time.monotonic() - started < 30


def test_an_utterance_arrives_as_it_was_sent() -> None:
    pool = DecoderPool(1, 20.0, 20.0)
    try:
        there, here = pool.prepare(clip("dan")), prepare(clip("dan"), max_duration_s=20.0)
    finally:
        pool.close()
    assert (there.report, there.sha256, there.pieces) == (here.report, here.sha256, here.pieces)
    for name in ("waveform", "fingerprint"):
        arrived, sent = getattr(there, name), getattr(here, name)
        assert (arrived.dtype, arrived.shape) == (sent.dtype, sent.shape)
        np.testing.assert_array_equal(arrived, sent)
