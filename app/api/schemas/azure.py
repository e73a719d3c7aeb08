"""The JSON of Azure's Speaker Recognition, version 2.0, text-independent; docs/azure.md says what differs."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Seconds = Annotated[float, AfterValidator(lambda value: round(value, 2)), Field(ge=0)]
Score = Annotated[float, Field(ge=0, le=1)]
NOBODY = "00000000-0000-0000-0000-000000000000"


class _Azure(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True)


class _Enrolled(_Azure):
    profile_id: str
    enrollment_status: Literal["Enrolling", "Enrolled"]
    enrollments_count: int
    enrollments_length: Seconds
    """Length of the recordings, in seconds."""
    enrollments_speech_length: Seconds
    """Speech in them, in seconds."""
    remaining_enrollments_speech_length: Seconds
    """Speech still needed, in seconds."""


class AzureProfile(_Enrolled):
    """A speaker, as a voice profile."""

    locale: str
    created_date_time: datetime
    last_updated_date_time: datetime | None
    """Null for a profile that was never changed."""
    model_version: str | None
    """Date of the model; null before the first recording."""


class AzureProfiles(_Azure):
    """One page of profiles."""

    profiles: list[AzureProfile]
    next_link: Annotated[str, Field(alias="@nextLink")]
    """Address of the next page; empty on the last."""


class AzureEnrollment(_Enrolled):
    """A profile after one more recording."""

    audio_length: Seconds
    """Length of this recording, in seconds."""
    audio_speech_length: Seconds
    """Speech in it, in seconds."""


class AzureVerification(_Azure):
    """Is it the voice of the profile?"""

    recognition_result: Literal["Accept", "Reject"]
    score: Score
    """Logistic function of score less threshold: 0.5 at the threshold, and above for `Accept`."""


class AzureCandidate(_Azure):
    """A profile and how well it fits."""

    profile_id: str
    score: Score


class AzureIdentification(_Azure):
    """Whose voice is it?"""

    identified_profile: AzureCandidate
    """With an id of zeros when it is nobody's."""
    profiles_ranking: list[AzureCandidate]
    """At most five, the best first."""


class AzureInnerError(_Azure):
    """The refusal in the service's own words."""

    code: str
    request_id: Annotated[str, Field(alias="request_id")]


class AzureErrorDetail(_Azure):
    """What was wrong."""

    code: str
    message: str
    innererror: AzureInnerError


class AzureError(_Azure):
    """A refusal."""

    error: AzureErrorDetail
