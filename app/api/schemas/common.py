"""What the answers are made of."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Seconds = Annotated[float, AfterValidator(lambda value: round(value, 3)), Field(ge=0)]
Score = Annotated[float, AfterValidator(lambda value: round(value, 6))]
Cosine = Annotated[float, AfterValidator(lambda value: round(value, 6)), Field(ge=-1, le=1)]
Distance = Annotated[float, AfterValidator(lambda value: round(value, 6)), Field(ge=0, le=2)]
Share = Annotated[float, AfterValidator(lambda value: round(value, 4)), Field(ge=0, le=1)]


Interval = tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]]


class Answer(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(use_attribute_docstrings=True, from_attributes=True)


class Audio(Answer):
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


class Model(Answer):
    """The model that answered."""

    name: str
    version: str
    id: str
    """Name and the beginning of the file's hash; embeddings of different ids are never compared."""


class OperatingPointAnswer(Answer):
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


class SearchPointAnswer(OperatingPointAnswer):
    """The errors to expect of a search: of every single comparison, and of all of them together."""

    gallery_size: int
    """Speakers searched."""
    fpir: float
    """Expected false-positive identification rate: share of strangers for whom somebody of this gallery
    reaches the threshold, in [0, 1]; 1 - (1 - `fmr`)^`gallery_size`, which rather overstates it."""
    fpir_interval: Interval
    """95 % confidence interval of `fpir`, from that of `fmr`."""


class Explanation(Answer):
    """One thing that a decision rested on."""

    code: str
    """The stable word for programs."""
    detail: str
    """The same for people, in one sentence."""
    facts: dict[str, float | int | str | None]
    """The numbers in it."""


class Reason(BaseModel):
    """One thing that is wrong, with the facts that belong to it."""

    model_config = ConfigDict(extra="allow")
    code: str
    detail: str


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
