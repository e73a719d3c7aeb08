"""The JSON of the answers, name by name as the design has them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Seconds = Annotated[float, AfterValidator(lambda value: round(value, 3)), Field(ge=0)]
Score = Annotated[float, AfterValidator(lambda value: round(value, 6))]
Cosine = Annotated[float, AfterValidator(lambda value: round(value, 6)), Field(ge=-1, le=1)]
Distance = Annotated[float, AfterValidator(lambda value: round(value, 6)), Field(ge=0, le=2)]
Share = Annotated[float, AfterValidator(lambda value: round(value, 4)), Field(ge=0, le=1)]


Interval = tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]]


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, from_attributes=True)


class Audio(_Answer):
    """What was measured of a recording."""

    duration_s: Seconds
    """Length, in seconds."""
    speech_s: Seconds
    """Speech in it, in seconds."""
    sample_rate_hz: int
    """Sample rate as it was sent, in hertz."""
    channels: int
    """Channels as they were sent; several are mixed to one."""
    codec: str
    """Codec as it was sent."""
    bandwidth_hz: float | None
    """Highest frequency that carries speech, in hertz."""
    snr_db: float | None
    """Signal-to-noise ratio, in decibels."""
    peak_dbfs: float | None
    """Highest sample, in dB relative to full scale."""
    rms_dbfs: float | None
    """Level, in dB relative to full scale."""
    clipped_ratio: float
    """Share of clipped samples, in [0, 1]."""
    quality: float
    """How usable it is, in [0, 1]."""
    warnings: list[str]
    """What may make the answer worse, such as `narrowband`."""


class Model(_Answer):
    """The model that answered."""

    name: str
    version: str
    id: str
    """Name and the beginning of the file's hash; embeddings of different ids are never compared."""


class OperatingPointAnswer(_Answer):
    """The errors to expect at the threshold, from trials of speakers whom the model was not trained on."""

    source: str
    """The trials."""
    fmr: float
    """Expected false-match rate of one comparison: share of other voices that pass, in [0, 1]."""
    fnmr: float
    """Expected false-non-match rate: share of the right voices that are turned away, in [0, 1]."""
    fmr_interval: Interval
    """95 % confidence interval of `fmr`, by resampling speakers: lower end, upper end."""
    fnmr_interval: Interval
    """95 % confidence interval of `fnmr`."""
    target_trials: int
    """Trials of one voice."""
    impostor_trials: int
    """Trials of two voices; no rate below 3 divided by their number is promised."""


class Pad(_Answer):
    """Presentation-attack detection: replayed and synthetic voices are not looked for yet."""

    evaluated: Literal[False] = False


class ProgressAnswer(_Answer):
    """How far a speaker is on the way to being enrolled."""

    speaker_id: str | None
    status: Literal["enrolling", "enrolled"]
    """`enrolled` once there is enough speech; only then is the speaker verified and identified."""
    enrollments_count: int
    """Recordings enrolled."""
    speech_s: Seconds
    """Speech enrolled, in seconds."""
    required_speech_s: Seconds
    """Speech needed, in seconds."""
    remaining_speech_s: Seconds
    """Speech still needed, in seconds."""
    progress: Share
    """Share of the needed speech, in [0, 1]."""


class TakeVerdict(_Answer):
    """What became of one recording."""

    enrollment_id: str | None
    """Null when it was refused, and in a dry run."""
    accepted: bool
    duplicate: bool
    """The same clip was enrolled before; it counts once."""
    code: str | None
    """Why it was refused."""
    detail: str | None
    """The same for people."""
    audio: Audio | None
    """Null when it could not be decoded."""
    warnings: list[str]


class EnrollAnswer(ProgressAnswer):
    """The speaker after an enrolment."""

    speaker_id: str | None
    """Null only in a dry run without one."""
    enrollments: list[TakeVerdict]
    """One for each recording, in the order of the request."""
    consistency: Cosine | None
    """Mean cosine of the speaker's takes to their centroid; null with one take."""
    dry_run: bool
    """Nothing was stored."""
    model: Model
    request_id: str


class VerifyAnswer(_Answer):
    """Is it this speaker?"""

    decision: Literal["accept", "reject"]
    speaker_id: str | None
    """Null when two clips were compared."""
    score: Score
    """Log-likelihood ratio of one voice to two, natural log: above 0 the recording speaks for the claim, and
    2.3 more make it ten times likelier. It takes in how much speech there was on both sides."""
    similarity: Cosine
    """Cosine of the embeddings; it decides nothing by itself."""
    distance: Distance
    """Euclidean distance of the embeddings, which have unit length: the root of 2 - 2 `similarity`, 0 for the
    same direction and 2 for the opposite one. It decides nothing by itself."""
    threshold: float
    """Least score that is accepted."""
    operating_point: OperatingPointAnswer | None
    """Null for a threshold of your own: nothing was measured at it."""
    pad: Pad
    audio: Audio
    audio_reference: Audio | None
    """The second clip, when there was one."""
    model: Model
    request_id: str


class CandidateAnswer(_Answer):
    """One candidate, as the database holds the speaker now."""

    rank: int
    speaker_id: str
    score: Score
    """Log-likelihood ratio, natural log, for what this speaker has enrolled."""
    similarity: Cosine
    """Cosine of the embeddings."""


class IdentifyAnswer(_Answer):
    """Whose voice is it?"""

    decision: Literal["match", "unknown", "ambiguous"]
    speaker_id: str | None
    """The speaker of a `match`, otherwise null."""
    candidates: list[CandidateAnswer]
    """The speakers with the highest scores, whatever the decision."""
    margin: Score | None
    """Lead of the first candidate over the second, in score; null with fewer than two."""
    threshold: float
    """Least score of a match."""
    gallery_size: int
    """Speakers searched."""
    operating_point: OperatingPointAnswer | None
    """Null for a threshold of your own. Its rates are those of one comparison, not of the whole search."""
    audio: Audio
    model: Model
    request_id: str


class Speaker(ProgressAnswer):
    """An enrolled voice."""

    speaker_id: str
    display_name: str | None
    metadata: dict[str, Any]
    consent: dict[str, Any] | None
    version: int
    """Grows with every change; also in the ETag."""
    created_at: datetime
    updated_at: datetime


class SpeakerAnswer(Speaker):
    """One speaker."""

    request_id: str


class SpeakersAnswer(_Answer):
    """One page of speakers."""

    speakers: list[Speaker]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last."""
    request_id: str


class Enrollment(_Answer):
    """One recording that was enrolled. The recording itself is not kept."""

    enrollment_id: str
    model_id: str
    """Model of the embedding."""
    duration_s: Seconds
    speech_s: Seconds
    quality: float
    audio: Audio
    created_at: datetime


class EnrollmentsAnswer(_Answer):
    """The takes of a speaker, oldest first."""

    speaker_id: str
    enrollments: list[Enrollment]
    consistency: Cosine | None
    request_id: str


class Reason(BaseModel):
    """One thing that is wrong, with the facts that belong to it."""

    model_config = ConfigDict(extra="allow")
    code: str
    detail: str


class QualityAnswer(_Answer):
    """What a recording is worth."""

    accepted: bool
    """The main calls would take it."""
    reasons: list[Reason]
    """Why they would not."""
    audio: Audio
    request_id: str


class OperatingPointOfModel(OperatingPointAnswer):
    """A threshold of a model."""

    threshold: float
    """Least score that is accepted."""


class ModelFileAnswer(_Answer):
    """A file of a model."""

    file: str
    precision: Literal["fp32", "int8"]
    sha256: str
    serves: list[str]
    """Machines that it is meant for: `cuda`, `cpu`, or `cpu:` and a flag of the processor."""
    suits: str
    """The same in words."""


class ModelDetail(Model):
    """A loaded model."""

    serving: bool
    provider: str
    """The ONNX Runtime provider that really runs it."""
    precision: Literal["fp32", "int8"]
    """Which of the files serves."""
    precision_reason: str
    """Why that one."""
    measured_ms: dict[str, float]
    """Median milliseconds of each file for 3 s of audio on one thread, timed when this process started; empty
    when there was no choice."""
    files: list[ModelFileAnswer]
    golden_cosine: float
    """Least cosine to the embeddings of the training framework, checked at the start."""
    sha256: str
    sample_rate_hz: int
    dim: int
    min_speech_s: float
    recipe: str
    corpus: str
    commit: str
    created_at: str
    eer: float
    """Equal error rate on the trials of the operating points, in [0, 1]."""
    cllr: float
    """Cost of the scores as log-likelihood ratios, in bits: 0 is perfect, 1 says nothing."""
    min_cllr: float
    """What it would be if every score were the best that its order allows."""
    trial_speakers: int
    """Speakers in the trials."""
    operating_points: list[OperatingPointOfModel]


class ModelsAnswer(_Answer):
    """The loaded models."""

    models: list[ModelDetail]
    request_id: str


class Health(_Answer):
    """The process runs."""

    status: Literal["ok"]


class ReadyAnswer(_Answer):
    """The service can answer."""

    status: Literal["ready"]
    checks: dict[str, dict[str, Any]]
    """What was checked and found."""
    request_id: str


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)
    type: str
    """URN of the kind of problem."""
    title: str
    status: int
    detail: str
    """What happened and what to do next, for people."""
    code: str
    """What happened, for programs."""
    reasons: list[Reason]
    """Everything that is wrong, with the facts: measured and required values, `field` or `file`."""
    audio: Audio | None
    """What was measured of the recording, when anything was."""
    request_id: str
