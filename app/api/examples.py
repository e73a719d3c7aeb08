"""One example of every refusal and of every answer, for the documentation and for its tests."""

from typing import Any, Final

from app import errors
from app.api.problems import internal_document, problem_document
from app.errors import TimbreError

REQUEST_ID: Final = "6f0c2f4d9f7c4f0e8a1d5b3c7e9a2b10"

REFUSALS: Final[tuple[TimbreError, ...]] = (
    errors.MalformedRequest("the multipart body ends before its closing boundary"),
    errors.ValidationFailed("top_k", "input should be less than or equal to 100"),
    errors.ConflictingParameters("speaker_id", "audio_reference"),
    errors.InvalidSpeakerId(),
    errors.PayloadTooLarge(limit_bytes=33_554_432),
    errors.AudioMissing(part="audio"),
    errors.MethodNotAllowed(method="GET", path="/enroll", allowed="POST"),
    errors.UnsupportedMediaType(found="pdf"),
    errors.AudioEmpty(),
    errors.AudioUndecodable(container="flac", problem="the stream ends in the middle of a frame"),
    errors.InvalidSamples(count=12),
    errors.SampleRateTooLow(measured_hz=6000, required_hz=8000, maximum_hz=192_000),
    errors.AudioTooShort(measured_s=0.21, required_s=0.6),
    errors.AudioTooLong(limit_s=300.0),
    errors.NoSpeech(duration_s=4.0),
    errors.InsufficientSpeech(measured_s=0.42, required_s=0.6),
    errors.TooNoisy(measured_db=-5.2, required_db=-3.0),
    errors.Clipped(measured_ratio=0.31, allowed_ratio=0.1),
    errors.TooQuiet(measured_dbfs=-71.4, required_dbfs=-65.0),
    errors.SpeakerNotFound(speaker_id="ada"),
    errors.EnrollmentNotFound(speaker_id="ada", enrollment_id="0b7a4c1e9d2f4b8f9f64f0f9e4f0a1c2"),
    errors.RouteNotFound(method="GET", path="/v1/speaker"),
    errors.SpeakerExists(speaker_id="ada"),
    errors.SpeakerNotEnrolled(speaker_id="ada", measured_s=2.1, required_s=4.0),
    errors.ConcurrentModification(speaker_id="ada"),
    errors.ModelNotReady(),
    errors.IndexNotReady(),
    errors.StorageUnavailable(),
    errors.Overloaded(workers=2, waiting=16),
    errors.InferenceTimeout(limit_s=30.0),
    errors.ModelInvalid(path="models/timbre-2", problem="the hash of model.onnx is another one"),
    errors.ProviderUnavailable(requested="cuda", actual="CPUExecutionProvider"),
    errors.SchemaOutdated(found="0001", needed="0002"),
    errors.MigrationsMissing(path="alembic"),
)
"""An instance of each leaf of the tree."""

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
        }
    ],
    "consistency": 0.871,
    "dry_run": False,
    "model": MODEL,
    "request_id": REQUEST_ID,
}
VERIFY: Final[dict[str, Any]] = {
    "decision": "accept",
    "speaker_id": "ada",
    "score": 7.9142,
    "similarity": 0.7413,
    "distance": 0.719305,
    "threshold": 3.2806,
    "operating_point": OPERATING_POINT,
    "pad": {"evaluated": False},
    "audio": AUDIO,
    "audio_reference": None,
    "model": MODEL,
    "request_id": REQUEST_ID,
}
IDENTIFY: Final[dict[str, Any]] = {
    "decision": "match",
    "speaker_id": "ada",
    "candidates": [
        {"rank": 1, "speaker_id": "ada", "score": 7.9142, "similarity": 0.7413},
        {"rank": 2, "speaker_id": "grace", "score": -3.6017, "similarity": 0.2302},
    ],
    "margin": 11.5159,
    "threshold": 3.2806,
    "gallery_size": 8,
    "operating_point": OPERATING_POINT,
    "audio": AUDIO,
    "model": MODEL,
    "request_id": REQUEST_ID,
}
_SPEAKER: Final[dict[str, Any]] = {
    "speaker_id": "ada",
    **PROGRESS,
    "display_name": "Ada",
    "metadata": {"group": "kitchen"},
    "consent": {"reference": "form 17"},
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
    "request_id": REQUEST_ID,
}
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
        "index": {"ok": True, "index_count": 8, "sql_count": 8},
    },
    "request_id": REQUEST_ID,
}


def refusal_example(leaf: type[TimbreError]) -> dict[str, Any]:
    """The problem document of a leaf, exactly as the service would send it."""
    return problem_document(next(each for each in REFUSALS if type(each) is leaf), REQUEST_ID)


def internal_example() -> dict[str, Any]:
    """The problem document of a failure of the service itself."""
    return internal_document(REQUEST_ID)
