"""Examples of the answers about jobs."""

from typing import Any, Final

from app.api.examples.refusals import REQUEST_ID

COVERAGE: Final[dict[str, Any]] = {
    "model": "timbre-3",
    "enrolled": 1200,
    "ready": 1174,
    "reenrollment_required": 26,
}
_IMPORT: Final[dict[str, Any]] = {
    "job_id": "019aa6c2d4f15a1f0c2e7d9b4c35a6e8",
    "kind": "import",
    "status": "running",
    "wanted": {
        "bytes": 52_428_800,
        "include": None,
        "group": None,
        "include_audio": None,
        "model": None,
    },
    "done": 3120,
    "total": 10_000,
    "progress": 0.312,
    "rows_per_second": 41.6,
    "counts": {"accepted": 3080, "duplicate": 12, "refused": 28},
    "problem": None,
    "created_at": "2026-11-21T10:15:00Z",
    "started_at": "2026-11-21T10:15:01Z",
    "ended_at": None,
}
JOB: Final[dict[str, Any]] = _IMPORT | {"coverage": None, "request_id": REQUEST_ID}
EXPORT: Final[dict[str, Any]] = JOB | {
    "kind": "export",
    "status": "queued",
    "wanted": {
        "bytes": None,
        "include": ["enrollments", "speakers"],
        "group": None,
        "include_audio": False,
        "model": None,
    },
    "done": 0,
    "total": None,
    "progress": None,
    "rows_per_second": None,
    "counts": {},
    "started_at": None,
}
REEMBED: Final[dict[str, Any]] = EXPORT | {
    "kind": "reembed",
    "wanted": {
        "bytes": None,
        "include": None,
        "group": None,
        "include_audio": None,
        "model": "timbre-3",
    },
    "coverage": COVERAGE,
}
JOBS: Final[dict[str, Any]] = {"jobs": [_IMPORT], "next_cursor": None, "request_id": REQUEST_ID}
JOB_ROWS: Final[dict[str, Any]] = {
    "rows": [
        {
            "number": 1,
            "outcome": "accepted",
            "speaker_id": "ada",
            "enrollment_id": "0b7a4c1e9d2f4b8f9f64f0f9e4f0a1c2",
            "code": None,
            "detail": None,
        },
        {
            "number": 2,
            "outcome": "refused",
            "speaker_id": "grace",
            "enrollment_id": None,
            "code": "no_speech",
            "detail": "No speech was found in 4.00 s. Check the microphone and record again.",
        },
    ],
    "next_cursor": None,
    "request_id": REQUEST_ID,
}
COVERAGE_ANSWER: Final[dict[str, Any]] = COVERAGE | {"request_id": REQUEST_ID}
