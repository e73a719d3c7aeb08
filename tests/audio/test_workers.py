import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.audio import nursery, prepare
from app.audio.nursery import Nursery
from app.audio.workers import DecoderPool
from app.errors import AudioTooLong, AudioUndecodable, InvalidSamples, Overloaded, UnsupportedMediaType
from tests.codecs import encode
from tests.speech import clip, say


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_the_end_of(pids: Iterable[int]) -> None:
    deadline = time.monotonic() + 10
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "a decoder lives on"
        time.sleep(0.01)


@pytest.fixture(scope="module", autouse=True)
def warm():
    """A fork server for all pools of this module."""
    nursery.PARENT = Nursery()
    yield
    nursery.PARENT.close()
    nursery.PARENT = None


@pytest.fixture(scope="module")
def pool():
    pool = DecoderPool(workers=2, timeout_s=5.0, max_duration_s=20.0)
    yield pool
    pids = pool.pids
    pool.close()
    wait_for_the_end_of(pids)


def test_a_worker_gives_what_this_process_would_give(pool):
    data = clip("ada")
    there, here = pool.prepare(data), prepare(data, max_duration_s=20.0)
    np.testing.assert_array_equal(there.waveform, here.waveform)
    assert there.report == here.report
    assert there.sha256 == here.sha256 == hashlib.sha256(data).hexdigest()


def test_refusals_travel_as_themselves(pool):
    broken = np.full(16_000, np.nan)
    with pytest.raises(InvalidSamples) as refused:
        pool.prepare(encode(broken, "wav", subtype="FLOAT"))
    assert refused.value.count == 16_000
    with pytest.raises(AudioTooLong) as too_long:
        pool.prepare(encode(np.tile(say(0), 10), "flac"))
    assert too_long.value.limit_s == 20.0
    with pytest.raises(UnsupportedMediaType):
        pool.prepare(b"no sound at all")


def test_many_threads_each_get_their_own_answer(pool):
    clips = [clip(voice, take) for voice in ("ada", "dan", "ivo") for take in range(4)] * 2
    with ThreadPoolExecutor(8) as threads:
        utterances = list(threads.map(pool.prepare, clips))
    assert [u.sha256 for u in utterances] == [hashlib.sha256(data).hexdigest() for data in clips]


def test_an_upload_larger_than_a_pipe(pool):
    stereo = np.stack([say(0)] * 2, axis=1)
    data = encode(np.tile(stereo, (4, 1)), "wav", subtype="DOUBLE")
    assert len(data) > 2_000_000
    assert pool.prepare(data).report.channels == 2


def test_a_worker_that_died_between_two_recordings_is_replaced_unnoticed(pool):
    before = pool.pids
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for_the_end_of(before)
    assert pool.prepare(clip("ada")).report.speech_s > 1
    assert pool.prepare(clip("ada")).report.speech_s > 1
    assert pool.pids - before


def test_an_overdue_worker_is_killed_and_only_its_recording_refused():
    pool = DecoderPool(workers=1, timeout_s=0.5, max_duration_s=20.0)
    try:
        (stuck,) = pool.pids
        os.kill(stuck, signal.SIGSTOP)
        with pytest.raises(AudioUndecodable, match=r"longer than 0\.5 s") as refused:
            pool.prepare(clip("ada"))
        assert refused.value.container == "ogg"
        wait_for_the_end_of([stuck])
        assert pool.prepare(clip("ada")).report.speech_s > 1
    finally:
        pool.close()


def test_a_crash_refuses_the_recording_and_a_full_pool_says_overloaded():
    pool = DecoderPool(workers=1, timeout_s=3.0, max_duration_s=20.0)
    try:
        (victim,) = pool.pids
        os.kill(victim, signal.SIGSTOP)
        outcome: list[BaseException] = []

        def send() -> None:
            try:
                pool.prepare(clip("ada"))
            except AudioUndecodable as refusal:
                outcome.append(refusal)

        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(0.5)
        os.kill(victim, signal.SIGKILL)
        sender.join()
        assert "crashes" in str(outcome[0])
        assert pool.prepare(clip("ada")).report.speech_s > 1
    finally:
        pool.close()


def test_a_caller_that_waits_too_long_for_a_worker_is_told():
    pool = DecoderPool(workers=1, timeout_s=1.0, max_duration_s=20.0)
    try:
        (stuck,) = pool.pids
        os.kill(stuck, signal.SIGSTOP)
        with ThreadPoolExecutor(4) as threads:
            answers = [threads.submit(pool.prepare, clip("ada")) for _ in range(4)]
            errors = [answer.exception() for answer in answers]
        assert sum(isinstance(error, AudioUndecodable) for error in errors) == 1
        assert all(error is None or isinstance(error, (AudioUndecodable, Overloaded)) for error in errors)
    finally:
        pool.close()


def test_close_wakes_and_ends_everything():
    pool = DecoderPool(workers=1, timeout_s=30.0, max_duration_s=20.0)
    (stuck,) = pool.pids
    os.kill(stuck, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(pool.prepare, clip("ada")) for _ in range(2)]
        time.sleep(0.3)
        pool.close()
        errors = [answer.exception(timeout=5) for answer in answers]
    assert all(error is not None for error in errors)
    wait_for_the_end_of([stuck])
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        pool.prepare(clip("ada"))


def test_a_lazy_pool_starts_its_process_with_the_first_recording_and_keeps_it():
    pool = DecoderPool(workers=1, timeout_s=20.0, max_duration_s=20.0, lazy=True)
    try:
        assert not pool.pids
        with ThreadPoolExecutor(3) as threads:
            answers = list(threads.map(pool.prepare, [clip("ada")] * 3))
        assert all(answer.report.speech_s > 1 for answer in answers)
        (started,) = pool.pids
        pool.prepare(clip("dan"))
        assert pool.pids == {started}
    finally:
        pool.close()
    wait_for_the_end_of([started])


def test_a_worker_that_does_not_even_read_is_overdue_too():
    pool = DecoderPool(workers=1, timeout_s=0.5, max_duration_s=20.0)
    try:
        (stuck,) = pool.pids
        os.kill(stuck, signal.SIGSTOP)
        with pytest.raises(AudioUndecodable, match=r"longer than 0\.5 s"):
            pool.prepare(encode(np.tile(say(0), 40), "wav", subtype="DOUBLE"))  # more than a socket holds
        assert pool.prepare(clip("ada")).report.speech_s > 1
    finally:
        pool.close()


def test_the_wait_for_a_worker_may_be_shorter_than_its_work():
    pool = DecoderPool(workers=1, timeout_s=20.0, max_duration_s=20.0, wait_s=0.2)
    try:
        (stuck,) = pool.pids
        os.kill(stuck, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(pool.prepare, clip("ada"))
            while pool._idle:
                time.sleep(0.01)
            with pytest.raises(Overloaded):
                pool.prepare(clip("dan"))
            os.kill(stuck, signal.SIGCONT)
            assert first.result(20).report.speech_s > 1
    finally:
        pool.close()
