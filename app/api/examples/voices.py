"""One example of every answer about voices, speakers and models."""

from typing import Any, Final

from app.api.examples.refusals import REQUEST_ID

AUDIO: Final[dict[str, Any]] = {
    "duration_s": 3.52,
    "speech_s": 2.87,
    "sample_rate_hz": 48000,
    "channels": 2,
    "codec": "pcm_s16le",
    "bandwidth_hz": 7800.0,
    "snr_db": 31.4,
    "peak_dbfs": -3.1,
    "rms_dbfs": -21.7,
    "clipped_ratio": 0.0,
    "quality": 0.93,
    "warnings": [],
}
MODEL: Final[dict[str, Any]] = {"name": "timbre-2", "version": "1.0.0", "id": "timbre-2@1f0e9c7d5b3a"}
OPERATING_POINT: Final[dict[str, Any]] = {
    "source": "development trials of the corpus",
    "fmr": 0.01,
    "fnmr": 0.062,
    "fmr_interval": [0.008, 0.013],
    "fnmr_interval": [0.049, 0.077],
    "target_trials": 4000,
    "impostor_trials": 40000,
}
SEARCH_POINT: Final[dict[str, Any]] = {
    **OPERATING_POINT,
    "gallery_size": 8,
    "fpir": 0.077255,
    "fpir_interval": [0.062225, 0.099353],
}
DECISION_ID: Final = "mC1kQ7y2bq0VfQJ1uYy0nTz0cF3sWm9e7a4K2hXo"
EXPLANATION: Final[list[dict[str, Any]]] = [
    {
        "code": "score_reaches_threshold",
        "detail": "The score is 7.91; 3.28 is enough.",
        "facts": {"score": 7.9142, "threshold": 3.2806},
    },
    {
        "code": "threshold_of_policy",
        "detail": "The threshold is the one for the error rate that the policy asks for: of other voices "
        "1.000% are expected to reach it, of the right ones 6.2% to miss it.",
        "facts": {"fmr": 0.01, "fnmr": 0.062},
    },
    {
        "code": "speech_heard",
        "detail": "The recording holds 2.9 s of speech, the other side 5.6 s.",
        "facts": {"speech_s": 2.87, "enrolled_speech_s": 5.61},
    },
]
PROGRESS: Final[dict[str, Any]] = {
    "status": "enrolled",
    "enrollments_count": 2,
    "speech_s": 5.61,
    "required_speech_s": 4.0,
    "remaining_speech_s": 0.0,
    "progress": 1.0,
}
ENROLL: Final[dict[str, Any]] = {
    "speaker_id": "ada",
    **PROGRESS,
    "enrollments": [
        {
            "enrollment_id": "0b7a4c1e9d2f4b8f9f64f0f9e4f0a1c2",
            "accepted": True,
            "duplicate": False,
            "code": None,
            "detail": None,
            "audio": AUDIO,
            "warnings": [],
            "doubts": [],
        }
    ],
    "consistency": 0.871,
    "dry_run": False,
    "model": MODEL,
    "request_id": REQUEST_ID,
}
_PRESENTATION: Final[dict[str, Any]] = {
    "warnings": [],
    "replay": {
        "checked": True,
        "suspected": False,
        "of": None,
        "enrollment_id": None,
        "similarity": 0.0713,
        "seconds": 2.432,
    },
    "pad": {
        "evaluated": False,
        "detector": None,
        "version": None,
        "score": None,
        "threshold": None,
        "decision": None,
    },
}
VERIFY: Final[dict[str, Any]] = {
    "decision": "accept",
    "decision_id": DECISION_ID,
    "speaker_id": "ada",
    "score": 7.9142,
    "similarity": 0.7413,
    "distance": 0.719305,
    "threshold": 3.2806,
    "operating_point": OPERATING_POINT,
    "explanation": EXPLANATION,
    **_PRESENTATION,
    "challenge": None,
    "audio": AUDIO,
    "audio_reference": None,
    "model": MODEL,
    "request_id": REQUEST_ID,
}
IDENTIFY: Final[dict[str, Any]] = {
    "decision": "match",
    "decision_id": DECISION_ID,
    "speaker_id": "ada",
    "candidates": [
        {
            "rank": 1,
            "speaker_id": "ada",
            "score": 7.9142,
            "similarity": 0.7413,
            "margin": 11.5159,
            "enrolled_speech_s": 5.61,
        },
        {
            "rank": 2,
            "speaker_id": "grace",
            "score": -3.6017,
            "similarity": 0.2302,
            "margin": -11.5159,
            "enrolled_speech_s": 8.2,
        },
    ],
    "margin": 11.5159,
    "min_margin": 0.5,
    "threshold": 3.2806,
    "gallery_size": 8,
    "operating_point": SEARCH_POINT,
    "explanation": [
        {
            "code": "score_reaches_threshold",
            "detail": "The best score, of 'ada', is 7.91; 3.28 is enough.",
            "facts": {"score": 7.9142, "threshold": 3.2806},
        },
        {
            "code": "margin_sufficient",
            "detail": "It leads that of 'grace' (-3.60) by 11.52; 0.50 is enough.",
            "facts": {
                "margin": 11.5159,
                "min_margin": 0.5,
                "runner_up": "grace",
                "runner_up_score": -3.6017,
            },
        },
        {
            "code": "speakers_searched",
            "detail": "8 speakers were searched, the whole gallery.",
            "facts": {"gallery_size": 8, "filtered": 0},
        },
    ],
    **_PRESENTATION,
    "audio": AUDIO,
    "model": MODEL,
    "request_id": REQUEST_ID,
}
_SPEAKER: Final[dict[str, Any]] = {
    "speaker_id": "ada",
    **PROGRESS,
    "display_name": "Ada",
    "metadata": {"group": "kitchen"},
    "retain_until": None,
    "consent": {"reference": "form 17"},
    "models": [
        {
            "model_id": MODEL["id"],
            "speech_s": PROGRESS["speech_s"],
            "enrollments_count": PROGRESS["enrollments_count"],
        }
    ],
    "reenrollment_required": False,
    "version": 2,
    "created_at": "2026-01-05T09:30:00.125000Z",
    "updated_at": "2026-01-05T09:31:12.500000Z",
}
SPEAKER: Final[dict[str, Any]] = {**_SPEAKER, "request_id": REQUEST_ID}
SPEAKERS: Final[dict[str, Any]] = {"speakers": [_SPEAKER], "next_cursor": None, "request_id": REQUEST_ID}
ENROLLMENTS: Final[dict[str, Any]] = {
    "speaker_id": "ada",
    "enrollments": [
        {
            "enrollment_id": "0b7a4c1e9d2f4b8f9f64f0f9e4f0a1c2",
            "model_id": MODEL["id"],
            "duration_s": 3.52,
            "speech_s": 2.87,
            "quality": 0.93,
            "audio": AUDIO,
            "created_at": "2026-01-05T09:30:00.125000Z",
        }
    ],
    "consistency": None,
    "request_id": REQUEST_ID,
}
QUALITY: Final[dict[str, Any]] = {"accepted": True, "reasons": [], "audio": AUDIO, "request_id": REQUEST_ID}
MODELS: Final[dict[str, Any]] = {
    "models": [
        {
            **MODEL,
            "serving": True,
            "shadow": False,
            "enrolled": 8,
            "provider": "CPUExecutionProvider",
            "precision": "int8",
            "precision_reason": "3 s of audio take 8.8 ms in fp32 and 5.5 in int8, which serves where it is "
            "1.2 times as fast; here it is 1.60",
            "measured_ms": {"fp32": 8.8, "int8": 5.5},
            "files": [
                {
                    "file": "model.onnx",
                    "precision": "fp32",
                    "sha256": "1f0e9c7d5b3a" + "0" * 52,
                    "serves": ["cpu", "cuda"],
                    "suits": "every processor, and CUDA",
                },
                {
                    "file": "model.int8.onnx",
                    "precision": "int8",
                    "sha256": "7be1402c9d6f" + "0" * 52,
                    "serves": ["cpu:avx512_vnni", "cpu:avx_vnni"],
                    "suits": "x86 processors with 8-bit dot products (VNNI)",
                },
            ],
            "golden_cosine": 0.9995,
            "sha256": "1f0e9c7d5b3a" + "0" * 52,
            "sample_rate_hz": 16000,
            "dim": 192,
            "min_speech_s": 0.6,
            "recipe": "recipes/timbre-2.toml",
            "corpus": "development corpus",
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "created_at": "2026-01-01T00:00:00Z",
            "eer": 0.041,
            "cllr": 0.163,
            "min_cllr": 0.152,
            "trial_speakers": 310,
            "operating_points": [{**OPERATING_POINT, "threshold": 3.2806}],
        }
    ],
    "available": ["timbre-2"],
    "active": "timbre-2",
    "previous": None,
    "shadow": None,
    "request_id": REQUEST_ID,
}
ACTIVATION: Final[dict[str, Any]] = {"model": MODELS["models"][0], "request_id": REQUEST_ID}
READY: Final[dict[str, Any]] = {
    "status": "ready",
    "checks": {
        "model": {
            "ok": True,
            "id": MODEL["id"],
            "provider": "CPUExecutionProvider",
            "precision": "int8",
            "measured_ms": {"fp32": 8.8, "int8": 5.5},
            "golden_cosine": 0.9995,
        },
        "database": {"ok": True, "dialect": "sqlite"},
        "migrations": {"ok": True, "at_head": True},
        "master_key": {"ok": True, "opens": True},
        "erasure_ledger": {"ok": True, "writable": True},
        "index": {"ok": True, "index_count": 8, "sql_count": 8, "galleries": 1},
        "decoders": {
            "ok": True,
            "processes": 1,
            "start_method": "fork server",
            "no_new_privileges": True,
            "memory_hidden": True,
            "landlock": 7,
            "memory_limit_bytes": 1532743680,
            "cpu_limit_s": 20.0,
            "seccomp": True,
        },
    },
    "request_id": REQUEST_ID,
}
