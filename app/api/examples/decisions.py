"""One example of every answer about decisions, operating points and calibrations."""

from typing import Any, Final

from app.api.examples.refusals import REQUEST_ID
from app.api.examples.voices import MODEL, OPERATING_POINT, SEARCH_POINT

FEEDBACK: Final[dict[str, Any]] = {
    "kind": "identify",
    "decision": "match",
    "correct": True,
    "counted": True,
    "replaced": False,
    "request_id": REQUEST_ID,
}
_NONE: Final[dict[str, Any]] = {"decisions": 0, "errors": 0, "rate": None, "interval": None}
OPERATING_POINTS: Final[dict[str, Any]] = {
    "calibration": {
        "own": False,
        "source": "development trials of the corpus",
        "speakers": 310,
        "target_trials": 4000,
        "impostor_trials": 40000,
        "eer": 0.041,
        "cllr": 0.163,
        "min_cllr": 0.152,
    },
    "verify": {
        "default": {**OPERATING_POINT, "threshold": 3.2806},
        "points": [{**OPERATING_POINT, "threshold": 3.2806}],
        "least_fmr": 0.001,
    },
    "identify": {
        "gallery_size": 8,
        "default": {**SEARCH_POINT, "threshold": 3.2806},
        "points": [{**SEARCH_POINT, "threshold": 3.2806}],
        "least_fpir": 0.007973,
        "min_margin": 0.5,
    },
    "observed": {
        "fmr": _NONE,
        "fnmr": {"decisions": 40, "errors": 2, "rate": 0.05, "interval": [0.0138, 0.165]},
        "fpir": _NONE,
        "fnir": _NONE,
    },
    "model": MODEL,
    "request_id": REQUEST_ID,
}
_CALIBRATION: Final[dict[str, Any]] = {
    "calibration_id": "5a1f0c2e7d9b4c35a6e8f00112233445",
    "status": "proposed",
    "model_id": MODEL["id"],
    "source": "own trials: 40 confirmed decisions and 4400 comparisons in the gallery, 20 speakers, "
    "cross-validated by speaker",
    "operating_points": [
        {
            "source": "own trials: 40 confirmed decisions and 4400 comparisons in the gallery, 20 speakers, "
            "cross-validated by speaker",
            "fmr": 0.01,
            "fnmr": 0.11,
            "fmr_interval": [0.004, 0.019],
            "fnmr_interval": [0.05, 0.18],
            "target_trials": 140,
            "impostor_trials": 4300,
            "threshold": 2.9127,
        }
    ],
    "figures": {
        "trials": {
            "confirmed": {"target": 40, "impostor": 0},
            "gallery": {"target": 100, "impostor": 4300},
        },
        "speakers": 20,
        "in_force": {"eer": 0.052, "cllr": 0.231, "cllr_interval": [0.171, 0.302], "min_cllr": 0.16},
        "proposed": {"eer": 0.052, "cllr": 0.182, "cllr_interval": [0.133, 0.241], "min_cllr": 0.161},
        "cllr_saved": 0.049,
        "cllr_saved_interval": [0.012, 0.087],
        "thresholds": [
            {
                "fmr": 0.01,
                "in_force": {
                    "threshold": 3.2806,
                    "fmr": 0.031,
                    "fmr_interval": [0.018, 0.047],
                    "fnmr": 0.07,
                    "fnmr_interval": [0.03, 0.12],
                },
                "proposed": {
                    "threshold": 2.9127,
                    "fmr": 0.0099,
                    "fmr_interval": [0.004, 0.019],
                    "fnmr": 0.11,
                    "fnmr_interval": [0.05, 0.18],
                },
            }
        ],
    },
    "created_at": "2026-01-05T09:30:00.125000Z",
    "applied_at": None,
}
CALIBRATION: Final[dict[str, Any]] = {**_CALIBRATION, "request_id": REQUEST_ID}
APPLIED: Final[dict[str, Any]] = {
    **CALIBRATION,
    "status": "applied",
    "applied_at": "2026-01-06T08:00:00.250000Z",
}
CALIBRATIONS: Final[dict[str, Any]] = {
    "calibrations": [_CALIBRATION],
    "next_cursor": None,
    "request_id": REQUEST_ID,
}
