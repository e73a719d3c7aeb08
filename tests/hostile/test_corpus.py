"""Every bad input over real HTTP: its answer, and that it left nothing behind."""

from collections.abc import Iterator

import httpx
import pytest

from tests.hostile import corpus
from tests.hostile.target import Target, target

pytestmark = pytest.mark.timeout(400)  # a whole server, on a machine that may be busy
GROWTH = 50 << 20


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("hostile"), **corpus.SETTINGS) as server:
        yield server


@pytest.fixture(scope="module")
def client(attacked: Target) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=attacked.url, timeout=60) as client:
        corpus.enroll_ada(client)
        yield client


@pytest.mark.parametrize(
    ("send", "least"),
    [(corpus.send_recordings, 130), (corpus.send_exchanges, 80)],
    ids=["recordings", "exchanges"],
)
def test_every_bad_input(attacked: Target, client: httpx.Client, send, least: int) -> None:
    outcome = send(attacked, client)
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert outcome.tried >= least
    assert outcome.grown <= GROWTH
    assert client.get("/readyz").is_success
