"""Example of the answer about a model on trial."""

from typing import Any, Final

from app.api.examples.refusals import REQUEST_ID

SHADOW: Final[dict[str, Any]] = {
    "model": "timbre-3",
    "model_id": "timbre-3@1f0e9c7d5b3a",
    "shadowing": True,
    "decisions": 1840,
    "agreeing": 1807,
    "agreement": 0.9821,
    "without_template": 4,
    "outcomes": {"accept/accept": 1502, "reject/reject": 305, "reject/accept": 29, "accept/reject": 4},
    "scores": [{"quantile": 0.5, "serving": 4.81, "shadow": 5.36}],
    "serving_errors": {"wrong": 12, "known": 160, "rate": 0.075},
    "shadow_errors": {"wrong": 7, "known": 160, "rate": 0.0438},
    "differing": [
        {
            "kind": "verify",
            "outcome": "reject",
            "shadow_outcome": "accept",
            "score": 0.31,
            "shadow_score": 2.2,
            "correct": False,
            "decided_at": "2026-11-21T10:15:00Z",
        }
    ],
    "request_id": REQUEST_ID,
}
