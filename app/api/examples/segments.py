"""The example answer of /v1/segments."""

from typing import Any, Final

from app.api.examples.refusals import REQUEST_ID
from app.api.examples.voices import AUDIO, MODEL, SEARCH_POINT

SEGMENTS: Final[dict[str, Any]] = {
    "segments": [
        {
            "start_s": 0.42,
            "end_s": 6.1,
            "speaker_id": "ada",
            "label": "ada",
            "decision": "match",
            "score": 6.8101,
        },
        {
            "start_s": 6.1,
            "end_s": 9.87,
            "speaker_id": None,
            "label": "unknown-1",
            "decision": "unknown",
            "score": None,
        },
    ],
    "speakers": [
        {
            "label": "ada",
            "speaker_id": "ada",
            "decision": "match",
            "score": 6.8101,
            "similarity": 0.7019,
            "margin": 9.9034,
            "speech_s": 5.68,
            "segments_count": 1,
        },
        {
            "label": "unknown-1",
            "speaker_id": None,
            "decision": "unknown",
            "score": -2.9151,
            "similarity": 0.2641,
            "margin": 0.4112,
            "speech_s": 3.77,
            "segments_count": 1,
        },
    ],
    "duration_s": 10.2,
    "speech_s": 8.91,
    "threshold": 3.2806,
    "min_margin": 0.5,
    "gallery_size": 8,
    "operating_point": SEARCH_POINT,
    "audio": {**AUDIO, "duration_s": 10.2, "speech_s": 8.91},
    "model": MODEL,
    "request_id": REQUEST_ID,
}
