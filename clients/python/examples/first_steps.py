"""First steps: python first_steps.py http://127.0.0.1:8000 ada-1.ogg ada-2.ogg ada-3.ogg [key].

Enrolls two recordings of a voice, verifies and identifies a third, and deletes the speaker again.
"""

import json
import sys
import uuid
from pathlib import Path
from typing import TypeVar

from timbre_client import AuthenticatedClient, Client
from timbre_client.api.speakers import delete_speaker, get_speaker, list_speakers, update_speaker
from timbre_client.api.voices import enroll, identify, verify
from timbre_client.models import (
    EnrollBody,
    EnrollBodyMetadata,
    IdentifyBody,
    Problem,
    UpdateSpeakerBody,
    VerifyBody,
)
from timbre_client.types import File

Answer = TypeVar("Answer")
SPEAKER = "py-ada"


def main(server: str, first: str, second: str, third: str, key: str | None = None) -> None:
    """Take the steps, and tell each as one line of JSON."""
    client = Client(base_url=server) if key is None else AuthenticatedClient(base_url=server, token=key)

    wish = EnrollBody(audio=[recording(first), recording(second)], speaker_id=SPEAKER)
    wish.metadata = EnrollBodyMetadata.from_dict({"group": "first-steps"})
    enrolled = good(enroll.sync(client=client, body=wish, idempotency_key=uuid.uuid4().hex))
    tell("enroll", status=enrolled.status, enrollments=enrolled.enrollments_count)

    claim = VerifyBody(audio=recording(third), speaker_id=SPEAKER)
    verified = good(verify.sync(client=client, body=claim))
    tell("verify", decision=verified.decision, score=verified.score)

    found = good(identify.sync(client=client, body=IdentifyBody(audio=recording(third), top_k=3)))
    tell("identify", decision=found.decision, speaker=found.speaker_id)

    names: list[str] = []
    page = good(list_speakers.sync(client=client, limit=1))
    names += [speaker.speaker_id for speaker in page.speakers]
    while page.next_cursor is not None:
        page = good(list_speakers.sync(client=client, limit=1, cursor=page.next_cursor))
        names += [speaker.speaker_id for speaker in page.speakers]
    tell("list", names=names)

    tag = get_speaker.sync_detailed(SPEAKER, client=client).headers["etag"]
    patch = UpdateSpeakerBody(display_name="Ada")
    changed = good(update_speaker.sync(SPEAKER, client=client, body=patch, if_match=tag))
    refused = update_speaker.sync_detailed(SPEAKER, client=client, body=patch, if_match=tag)
    assert isinstance(refused.parsed, Problem)
    tell("patch", name=changed.display_name, refused=refused.parsed.code, status=int(refused.status_code))

    deleted = delete_speaker.sync_detailed(SPEAKER, client=client)
    gone = get_speaker.sync(SPEAKER, client=client)
    assert isinstance(gone, Problem)
    tell("delete", status=int(deleted.status_code), then=gone.reasons[0].code)


def recording(path: str) -> File:
    """A recording as the client sends it."""
    return File(payload=Path(path).open("rb"), file_name=Path(path).name)


def good(answer: Answer | Problem | None) -> Answer:
    """The answer, or an end with the service's own words."""
    if answer is None or isinstance(answer, Problem):
        raise SystemExit("no answer" if answer is None else answer.detail)
    return answer


def tell(step: str, **found: object) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps({"step": step, **found}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
