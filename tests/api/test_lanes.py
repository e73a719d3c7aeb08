"""The lane for long work: few at once, some waiting, the rest turned away."""

import threading

import anyio
import pytest

from app.api.lanes import Lane
from app.errors import Overloaded


def test_as_many_wait_as_are_worked_on_and_the_rest_is_turned_away() -> None:
    lane, leave, entered = Lane(2), threading.Event(), threading.Semaphore(0)
    working, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        entered.release()
        leave.wait(10)
        with lock:
            working -= 1

    async def request() -> None:
        async with lane.place():
            await lane.run(work)

    async def main() -> None:
        async with anyio.create_task_group() as requests:
            for _ in range(4):
                requests.start_soon(request)
            for _ in range(2):
                await anyio.to_thread.run_sync(entered.acquire)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(Overloaded) as refused:
                await request()
            assert (refused.value.workers, refused.value.waiting) == (2, 2)
            leave.set()
        assert lane._taken == 0
        await request()

    anyio.run(main)
    assert most == 2


def test_a_request_that_fails_gives_its_place_back() -> None:
    lane = Lane(1)

    async def request() -> None:
        async with lane.place():
            await lane.run(int, "no number")

    for _ in range(3):
        with pytest.raises(ValueError, match="invalid literal"):
            anyio.run(request)
    assert lane._taken == 0
