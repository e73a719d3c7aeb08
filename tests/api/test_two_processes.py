"""Two applications on one database, each with an index of its own, see each other's changes at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.served import assert_problem, audio, clip, enroll, serving, settings_for

Pair = tuple[httpx.Client, httpx.Client]


@pytest.fixture
def pair(models_dir: Path, database_url: str) -> Iterator[Pair]:
    settings = settings_for(models_dir, database_url)
    with serving(settings) as one, serving(settings) as other:
        yield one, other


def test_each_sees_what_the_other_does_at_once(pair: Pair) -> None:
    one, other = pair
    probe = audio(clip(1, 5))
    assert other.post("/identify", files=probe).json()["gallery_size"] == 0
    enroll(one, "ada", voice=1)
    seen = other.post("/identify", files=probe).json()
    assert (seen["decision"], seen["speaker_id"]) == ("match", "ada")
    assert other.post("/verify", files=probe, data={"speaker_id": "ada"}).json()["decision"] == "accept"
    enroll(other, "ada", voice=2, on_existing="replace")
    changed = one.post("/identify", files=audio(clip(2, 5))).json()
    assert (changed["decision"], changed["speaker_id"]) == ("match", "ada")
    assert one.post("/verify", files=probe, data={"speaker_id": "ada"}).json()["decision"] == "reject"
    assert other.delete("/v1/speakers/ada").status_code == 204
    gone = one.post("/identify", files=probe).json()
    assert (gone["candidates"], gone["gallery_size"]) == ([], 0)
    assert_problem(one.post("/verify", files=probe, data={"speaker_id": "ada"}), 404, "speaker_not_found")
    for client in pair:
        assert client.get("/readyz").json()["checks"]["index"]["index_count"] == 0


def test_a_deletion_of_a_take_is_seen_too(pair: Pair) -> None:
    one, other = pair
    ids = [each["enrollment_id"] for each in enroll(one, "ada", voice=1)["enrollments"]]
    assert other.post("/identify", files=audio(clip(1, 5))).json()["gallery_size"] == 1
    assert one.delete(f"/v1/speakers/ada/enrollments/{ids[0]}").status_code == 204
    assert other.post("/identify", files=audio(clip(1, 5))).json()["gallery_size"] == 0


def test_a_deleted_speaker_is_never_returned_while_others_work(pair: Pair) -> None:
    """Deletions race with searches in both processes; an answer begun after one never names its speaker."""
    one, other = pair
    for number in range(8):
        enroll(pair[number % 2], f"voice-{number}", voice=number)

    def search(client: httpx.Client, deleted: set[str]) -> set[str]:
        found = client.post("/identify", files=audio(clip(3, 8, 1.0)), data={"top_k": "10"}).json()
        return {each["speaker_id"] for each in found["candidates"]} & deleted

    deleted: set[str] = set()
    with ThreadPoolExecutor(4) as pool:
        for number in range(8):
            running = [pool.submit(search, client, set(deleted)) for client in pair for _ in range(2)]
            assert pair[number % 2].delete(f"/v1/speakers/voice-{number}").status_code == 204
            deleted.add(f"voice-{number}")
            assert all(future.result() == set() for future in running)
            assert search(one, deleted) == search(other, deleted) == set()


def test_a_server_that_starts_later_knows_the_gallery(models_dir: Path, database_url: str) -> None:
    settings = settings_for(models_dir, database_url)
    with serving(settings) as first:
        enroll(first, "ada", voice=1)
        enroll(first, "half", voice=2, takes=1)
    with serving(settings) as second:
        assert "timbre_gallery_speakers 1.0" in second.get("/metrics").text
        assert second.post("/identify", files=audio(clip(1, 5))).json()["speaker_id"] == "ada"
