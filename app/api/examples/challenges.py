"""One example of every answer about challenges."""

from typing import Any, Final

from app.api.examples.refusals import REQUEST_ID

CHALLENGE: Final[dict[str, Any]] = {
    "challenge_id": "pQ4v0mXr1Yw8s2KzT6bJcQ",
    "digits": "4 8 1 9 0 2",
    "expires_at": "2026-01-05T09:31:00.125000Z",
    "speaker_id": "ada",
    "status": "open",
    "request_id": REQUEST_ID,
}
CHALLENGE_VERDICT: Final[dict[str, Any]] = {
    "challenge_id": CHALLENGE["challenge_id"],
    "expected": CHALLENGE["digits"],
    "evaluated": True,
    "passed": True,
    "score": -0.08,
    "threshold": -2.57,
    "heard": "4 8 1 9 0 2",
}
