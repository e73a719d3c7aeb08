"""One example of every answer about rules, the log and receipts."""

from typing import Any, Final

from app.api.examples.refusals import REQUEST_ID
from app.api.examples.voices import ENROLLMENTS, SPEAKER

_SUBJECT: Final = "9b1c" * 16
POLICY: Final[dict[str, Any]] = {
    "policy": {
        "target_fmr": 0.01,
        "target_fpir": None,
        "min_margin": 0.5,
        "consent": "required",
        "inconsistent": "refuse",
        "same_voice": "warn",
        "several_voices": "warn",
        "replayed": "warn",
        "spoofed": "warn",
        "challenge": "optional",
        "keep_audio": False,
        "retention_days": None,
        "lockout_after": 5,
        "audit_decisions": False,
        "rate_limit": None,
    },
    "own": ["consent", "target_fmr"],
    "request_id": REQUEST_ID,
}
_ENTRY: Final[dict[str, Any]] = {
    "number": 1,
    "at": "2026-01-01T12:00:00Z",
    "actor": "0a1b2c3d4e5f",
    "action": "speaker.enrolled",
    "subject": _SUBJECT,
    "facts": {"enrollments": 2, "created": True, "consent": True},
    "request_id": REQUEST_ID,
    "hash": "e3b0" * 16,
}
AUDIT: Final[dict[str, Any]] = {"entries": [_ENTRY], "next_cursor": None, "request_id": REQUEST_ID}
CHAIN: Final[dict[str, Any]] = {
    "intact": True,
    "entries": 1,
    "head": "e3b0" * 16,
    "broken_at": None,
    "request_id": REQUEST_ID,
}
_RECEIPT: Final[dict[str, Any]] = {
    "receipt_id": "5a1f0c2e7d9b4c35a6e8f00112233445",
    "subject": _SUBJECT,
    "reason": "request",
    "enrollments": 2,
    "recordings": 0,
    "erased_at": "2026-01-02T12:00:00Z",
}
ERASURE: Final[dict[str, Any]] = {**_RECEIPT, "request_id": REQUEST_ID}
ERASURES: Final[dict[str, Any]] = {
    "erasures": [_RECEIPT],
    "next_cursor": None,
    "request_id": REQUEST_ID,
}
OPTED_OUT: Final[dict[str, Any]] = {
    "speaker_id": "ada",
    "opted_out": True,
    "receipt_id": _RECEIPT["receipt_id"],
    "request_id": REQUEST_ID,
}
DISCLOSURE: Final[dict[str, Any]] = {
    "speaker": {name: value for name, value in SPEAKER.items() if name != "request_id"},
    "enrollments": ENROLLMENTS["enrollments"],
    "recordings": {},
    "audit": [_ENTRY],
    "erasures": [],
    "request_id": REQUEST_ID,
}
