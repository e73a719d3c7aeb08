"""Azure's profiles, recordings and scores from the tenant's speakers, for the routes of both its versions."""

import json
import math
import re
from typing import Any, Final

from fastapi import Request

from app import errors
from app.api.lanes import at_work
from app.api.schemas.azure import (
    NOBODY,
    AzureCandidate,
    AzureEnrollment,
    AzureIdentification,
    AzureProfile,
    AzureVerification,
)
from app.api.uploads import read_body, read_recording
from app.audio.quality import AudioReport
from app.service import enrolment, identification, speakers, verification
from app.service.call import Call
from app.service.speakers import SpeakerView

LOCALE: Final = r"^[a-zA-Z]{2}-?[a-zA-Z]{2}$"
_LARGEST_BODY: Final = 64 * 1024
_MOST_CANDIDATES: Final = 50


async def read_locale(request: Request) -> str:
    """The locale in the body of a new profile.

    The published samples quote with apostrophes, which Azure took for JSON and so do we.

    Raises:
        MalformedRequest: The body is no JSON object.
        ValidationFailed: It has no locale, or not a good one.
    """
    text = (await read_body(request, _LARGEST_BODY)).decode("utf-8", "replace")
    for candidate in (text, text.replace("'", '"')):
        try:
            found = json.loads(candidate)
            break
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, dict):
        raise errors.MalformedRequest("the body is no JSON object")
    locale = found.get("locale")
    if not isinstance(locale, str) or not re.fullmatch(LOCALE, locale):
        raise errors.ValidationFailed("locale", "send one such as en-us")
    return locale


def make_profile(call: Call, profile_id: str, locale: str) -> AzureProfile:
    """A new speaker without recordings; the locale is kept in the metadata."""
    view = speakers.create_speaker(call, profile_id, metadata={"locale": locale})
    return _profile(call, view, 0.0)


def show_profile(call: Call, profile_id: str) -> AzureProfile:
    """One speaker."""
    view = speakers.get_speaker(call, profile_id)
    return _profile(call, view, speakers.recorded_seconds(call, [view])[profile_id])


def list_profiles(call: Call, cursor: str | None, limit: int) -> tuple[list[AzureProfile], str | None]:
    """One page of the tenant's speakers, in the order of their creation, and where the next begins."""
    page = speakers.list_speakers(call, cursor=cursor, limit=limit, group=None)
    lengths = speakers.recorded_seconds(call, page.speakers)
    return [
        _profile(call, view, lengths[view.speaker.speaker_id]) for view in page.speakers
    ], page.next_cursor


def reset_profile(call: Call, profile_id: str) -> AzureProfile:
    """A speaker again without recordings."""
    return _profile(call, speakers.reset_speaker(call, profile_id), 0.0)


def _profile(call: Call, view: SpeakerView, recorded_s: float) -> AzureProfile:
    speaker = view.speaker
    locale = speaker.metadata.get("locale")
    return AzureProfile(
        **_enrolled(view, recorded_s),
        locale=locale if isinstance(locale, str) else "",
        created_date_time=speaker.created_at,
        last_updated_date_time=speaker.updated_at if speaker.version > 1 else None,
        model_version=call.embedder.manifest.created_at[:10] if view.progress.enrollments_count else None,
    )


def _enrolled(view: SpeakerView, recorded_s: float) -> dict[str, Any]:
    progress = view.progress
    return {
        "profile_id": view.speaker.speaker_id,
        "enrollment_status": progress.status.capitalize(),
        "enrollments_count": progress.enrollments_count,
        "enrollments_length": recorded_s,
        "enrollments_speech_length": progress.speech_s,
        "remaining_enrollments_speech_length": progress.remaining_speech_s,
    }


async def enroll_recording(request: Request, call: Call, profile_id: str) -> AzureEnrollment:
    """One more recording for a speaker who exists."""
    recording = await read_recording(request, call.settings)
    return await at_work(request, _enroll, call, profile_id, recording)


def _enroll(call: Call, profile_id: str, recording: bytes) -> AzureEnrollment:
    speakers.get_speaker(call, profile_id)  # the path names a profile, and makes none
    wish = enrolment.EnrolmentRequest(recordings=[recording] if recording else [], speaker_id=profile_id)
    (verdict,) = enrolment.enroll(call, wish).verdicts
    view = speakers.get_speaker(call, profile_id)
    report = verdict.audio
    assert isinstance(report, AudioReport)  # it was not refused
    return AzureEnrollment(
        **_enrolled(view, speakers.recorded_seconds(call, [view])[profile_id]),
        audio_length=report.duration_s,
        audio_speech_length=report.speech_s,
    )


async def verify_recording(request: Request, call: Call, profile_id: str) -> AzureVerification:
    """Whether a recording is a speaker's."""
    recording = await read_recording(request, call.settings)
    wish = verification.VerificationRequest(recording=recording or None, speaker_id=profile_id)
    found = await at_work(request, verification.verify, call, wish)
    result = found.decision.capitalize()
    return AzureVerification.model_validate(
        {"recognitionResult": result, "score": _share(found.score, found.threshold.value)}
    )


async def identify_recording(request: Request, call: Call, profile_ids: str) -> AzureIdentification:
    """Which of these speakers a recording is of, if any."""
    recording = await read_recording(request, call.settings)
    return await at_work(request, _identify, call, recording, profile_ids)


def _identify(call: Call, recording: bytes, profile_ids: str) -> AzureIdentification:
    named = list(dict.fromkeys(each.strip(" ") for each in profile_ids.split(",")))
    if len(named) > _MOST_CANDIDATES:
        raise errors.ValidationFailed("profileIds", f"at most {_MOST_CANDIDATES} can be named")
    for profile_id in named:
        view = speakers.get_speaker(call, profile_id)
        if view.progress.status != "enrolled":
            raise errors.SpeakerNotEnrolled(
                profile_id, view.progress.speech_s, call.settings.required_speech_s
            )
    wish = identification.IdentificationRequest(recording=recording or None, candidate_ids=named)
    found = identification.identify(call, wish)
    ranking = [
        AzureCandidate(profile_id=each.speaker_id, score=_share(each.score, found.threshold.value))
        for each in found.candidates
    ]
    nobody = AzureCandidate(profile_id=NOBODY, score=0.0)
    return AzureIdentification(
        identified_profile=ranking[0] if found.speaker_id is not None else nobody, profiles_ranking=ranking
    )


def _share(score: float, threshold: float) -> float:
    """A score as a number in [0, 1]: 0.5 at the threshold."""
    return round(1 / (1 + math.exp(-max(-500.0, min(500.0, score - threshold)))), 6)
