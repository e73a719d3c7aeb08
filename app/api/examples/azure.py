"""Examples of the answers to Azure's clients."""

from typing import Any, Final

_ID: Final = "49a36324-fc4b-4387-aa06-090cfbf0064f"
_ENROLLED: Final[dict[str, Any]] = {
    "profileId": _ID,
    "enrollmentStatus": "Enrolled",
    "enrollmentsCount": 2,
    "enrollmentsLength": 12.4,
    "enrollmentsSpeechLength": 10.9,
    "remainingEnrollmentsSpeechLength": 0.0,
}
PROFILE: Final[dict[str, Any]] = {
    **_ENROLLED,
    "locale": "en-us",
    "createdDateTime": "2026-03-02T09:30:00.123456Z",
    "lastUpdatedDateTime": "2026-03-02T09:31:12.654321Z",
    "modelVersion": "2026-02-20",
}
PROFILES: Final[dict[str, Any]] = {"profiles": [PROFILE], "@nextLink": ""}
ENROLLMENT: Final[dict[str, Any]] = {**_ENROLLED, "audioLength": 6.2, "audioSpeechLength": 5.4}
VERIFICATION: Final[dict[str, Any]] = {"recognitionResult": "Accept", "score": 0.973}
IDENTIFICATION: Final[dict[str, Any]] = {
    "identifiedProfile": {"profileId": _ID, "score": 0.973},
    "profilesRanking": [{"profileId": _ID, "score": 0.973}],
}
