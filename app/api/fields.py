"""The text fields of each call, as form fields or query parameters; unknown ones are refused."""

from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from app.service.values import Consent, DisplayName, Group, JsonObject
from app.store.records import OnExisting


def _split(value: list[str]) -> list[str]:
    """Comma separated, repeated, or both. None at all is refused: it must not come to mean everybody."""
    found = [each.strip(" ") for text in value for each in text.split(",")]
    if not all(found):
        raise ValueError("it must name speakers, separated by commas")
    return list(dict.fromkeys(found))


_ID: Final = r"(?!\.{1,2}( |,|$))[A-Za-z0-9._~-]{1,128}"
"""A speaker_id; `.` and `..` would not survive as a part of a path."""
SPEAKER_IDS: Final = f"^ *{_ID}( *, *{_ID})* *$"
"""Some of them, separated by commas."""
CandidateIds = Annotated[
    list[Annotated[str, Field(json_schema_extra={"pattern": SPEAKER_IDS})]],
    AfterValidator(_split),
    Field(max_length=1000),
]
Score = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
SpeakerIdField = Annotated[str, WithJsonSchema({"type": "string", "pattern": rf"^{_ID}$"})]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class EnrollFields(_Fields):
    """Fields of an enrolment."""

    speaker_id: SpeakerIdField | None = None
    """Who speaks. Generated when it is not given."""
    display_name: DisplayName | None = None
    """A name for people."""
    metadata: JsonObject | None = None
    """A JSON object of your own, at most 4096 bytes. `group` in it can narrow an identification."""
    consent: Consent | None = None
    """What the speaker agreed to: a JSON object, or a text that says where it is kept."""
    retain_until: AwareDatetime | None = None
    """When the speaker is to be deleted, RFC 3339. Without it the policy's `retention_days` count."""
    on_existing: OnExisting = "append"
    """When the speaker exists: add the recordings, put them in the place of the old ones, or refuse."""
    allow_partial: bool = False
    """Enroll the usable recordings even when others are refused."""
    dry_run: bool = False
    """Answer as usual, but store nothing."""


ChallengeId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class VerifyFields(_Fields):
    """Fields of a verification."""

    speaker_id: SpeakerIdField | None = None
    """Whose voice it should be. Leave it out when a second clip is sent as `audio_reference`."""
    threshold: Score | None = None
    """Accept at this score and above, instead of the default. Nothing is known of the errors there."""
    target_fmr: Rate | None = None
    """Use the threshold whose expected false-match rate is the nearest to this one, and not above it; refused
    where the trials cannot promise it."""
    challenge_id: ChallengeId | None = None
    """The challenge of this speaker whose digits the recording says; good once. Not with audio_reference."""


class IdentifyFields(_Fields):
    """Fields of an identification."""

    top_k: Annotated[int, Field(ge=1, le=100)] = 5
    """Most candidates in the answer."""
    threshold: Score | None = None
    """Match at this score and above, instead of the default. Nothing is known of the errors there."""
    target_fpir: Rate | None = None
    """Use the threshold at which this share of strangers, at most, is expected to be named, in the gallery as
    large as it is; refused where the trials cannot promise it."""
    min_margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Least lead in score over the second candidate for a `match`; with less the answer is `ambiguous`.
    It is the log-odds of the first against the second: 0.5 says 1.6 times, 2.3 ten times likelier."""
    candidate_ids: CandidateIds | None = None
    """Search only these speakers: comma separated, or repeated. Ids that nobody has are left out."""
    group: Group | None = None
    """Search only speakers whose metadata has this `group`."""


class SegmentsFields(_Fields):
    """Fields of a recording that is cut into segments."""

    threshold: Score | None = None
    """Match at this score and above, instead of the default. Nothing is known of the errors there."""
    target_fpir: Rate | None = None
    """Use the threshold at which this share of strangers, at most, is expected to be named, in the gallery as
    large as it is; refused where the trials cannot promise it."""
    min_margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Least lead in score over the second candidate for a `match`; with less the voice is `ambiguous`."""
    candidate_ids: CandidateIds | None = None
    """Look for these speakers only: comma separated, or repeated. Ids that nobody has are left out."""
    group: Group | None = None
    """Look only for speakers whose metadata has this `group`."""
    min_segment_s: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 0.0
    """Leave shorter segments out, in seconds; what they say still counts for its speaker."""
    max_speakers: Annotated[int, Field(ge=1, le=100)] | None = None
    """Most voices that are told apart, where it is known how many take part."""


class QualityFields(_Fields):
    """A quality check takes no fields."""
