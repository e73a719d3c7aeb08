import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.embedder.admission import Admission
from app.errors import Overloaded


@pytest.fixture
def full():
    """Two places, both taken until the event is set."""
    admission, leave = Admission(1, 1, 10.0), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        staying = [pool.submit(admission.run, lambda _: leave.wait(10)) for _ in range(2)]
        deadline = time.monotonic() + 5
        while admission._free and time.monotonic() < deadline:
            time.sleep(0.001)
        yield admission, leave
        leave.set()
        for each in staying:
            each.result()
    admission.close()


def test_the_patient_wait_and_the_others_are_turned_away(full):
    admission, leave = full
    with pytest.raises(Overloaded):
        admission.run(lambda _: 1)
    with pytest.raises(Overloaded):
        admission.run(lambda _: 1, patience_s=0.05)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(admission.run, lambda _: 2, 10.0)
        while not admission._patient:
            time.sleep(0.001)
        leave.set()
        assert waiting.result(10) == 2
    assert admission.run(lambda _: 3) == 3
    assert (admission._free, admission._patient) == (2, 0)


def test_a_place_that_somebody_waits_for_is_not_for_who_comes_later(full):
    admission, _ = full
    with admission._changed:
        admission._patient, admission._free = 1, 1
        try:
            with pytest.raises(Overloaded):
                admission.run(lambda _: 1)
            admission._free = 2
            admission._enter(0.0)
        finally:
            admission._patient, admission._free = 0, 0
