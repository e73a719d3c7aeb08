"""Everything that Timbre refuses, as one tree of exceptions. Nothing here knows HTTP.

TimbreError
├── RequestError                the request contradicts itself or the contract
│   ├── MalformedRequest · ValidationFailed · ConflictingParameters · InvalidSpeakerId
│   ├── PayloadTooLarge · AudioMissing · MethodNotAllowed · UnsupportedRate · ConsentRequired
│   └── IdempotencyKeyReused
├── Forbidden                   who asks may not
│   └── Unauthorized · InsufficientScope · SpeakerOptedOut · VerificationLocked · RateLimited
├── AudioRefused                the recording cannot be used; carries what was measured
│   ├── UnsupportedMediaType · AudioEmpty · AudioUndecodable · InvalidSamples · SampleRateTooLow
│   ├── AudioTooShort · AudioTooLong · NoSpeech · InsufficientSpeech
│   └── TooNoisy · Clipped · TooQuiet · SeveralVoices
├── NotFound                    what the request names does not exist
│   ├── SpeakerNotFound · EnrollmentNotFound · RouteNotFound · ModelNotFound · JobNotFound
│   └── CalibrationNotFound · DecisionNotFound · ReceiptNotFound
├── Conflict                    the state of the gallery forbids it
│   ├── SpeakerExists · SpeakerNotEnrolled · ConcurrentModification · EnrollmentInconsistent
│   ├── VoiceAlreadyEnrolled · ReenrollmentRequired · TooFewTrials · JobRunning · ModelServing
│   └── IdempotencyInProgress · JobWithoutResult
├── Unavailable                 the service cannot answer now; the same call may succeed later
│   ├── ModelNotReady · IndexNotReady · StorageUnavailable · Overloaded · InferenceTimeout
└── StartupError                the service must not start
    └── ModelInvalid · ProviderUnavailable · SchemaOutdated · MigrationsMissing · MasterKeyInvalid
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar


class TimbreError(Exception):
    """Root of the tree. A leaf is a dataclass whose fields are the facts of the refusal."""

    code: ClassVar[str]
    """The stable word that a client switches on."""
    message: ClassVar[str]
    """One sentence or two, a format string over the facts; it ends with what to do next."""
    audio: Mapping[str, Any] | None = None
    """What was measured of the recording before it was refused, when anything was."""
    where: Mapping[str, Any] = MappingProxyType({})
    """Which part of the request is meant: `{"file": 1}`, counted from 0, or `{"field": "audio"}`."""
    reasons: "tuple[TimbreError, ...]" = ()
    """Every refusal of a request that was refused for more than one thing, this one included."""

    @property
    def facts(self) -> dict[str, Any]:
        """The leaf's fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.message.format(**self.facts)

    def __reduce__(self) -> tuple[Any, ...]:
        # A refusal travels from a decoder process to the API process; Exception's own
        # pickling knows positional arguments only.
        return _rebuild, (type(self), dict(self.__dict__))


def _rebuild(leaf: type[TimbreError], state: dict[str, Any]) -> TimbreError:
    error = leaf.__new__(leaf)
    error.__dict__.update(state)
    return error


# ---------------------------------------------------------------- the request


class RequestError(TimbreError):
    """The request itself is wrong, whatever the gallery holds."""


@dataclass(eq=False)
class MalformedRequest(RequestError):
    code = "malformed_request"
    message = "The request could not be read: {problem}."
    problem: str


@dataclass(eq=False)
class ValidationFailed(RequestError):
    code = "validation_error"
    message = "The field '{field}' is not valid: {problem}."
    field: str
    problem: str


@dataclass(eq=False)
class ConflictingParameters(RequestError):
    code = "conflicting_parameters"
    message = "'{first}' and '{second}' cannot be given together. Send one of them."
    first: str
    second: str


@dataclass(eq=False)
class InvalidSpeakerId(RequestError):
    code = "invalid_speaker_id"
    message = "The speaker_id is not valid. Use 1 to 128 characters of A-Z a-z 0-9 . _ ~ -"


@dataclass(eq=False)
class PayloadTooLarge(RequestError):
    code = "payload_too_large"
    message = (
        "The upload is larger than the limit of {limit_bytes} bytes. Send a shorter or compressed recording."
    )
    limit_bytes: int


@dataclass(eq=False)
class AudioMissing(RequestError):
    code = "audio_missing"
    message = (
        "The request holds no recording in '{part}'. Send it as that multipart part or as a raw audio/* body."
    )
    part: str


@dataclass(eq=False)
class MethodNotAllowed(RequestError):
    code = "method_not_allowed"
    message = "{path} does not answer {method}. Use {allowed}."
    method: str
    path: str
    allowed: str


@dataclass(eq=False)
class UnsupportedRate(RequestError):
    code = "unsupported_rate"
    message = "{field} of {asked:g} cannot be promised: {problem}. The least that can is {least_supported:g}."
    field: str
    asked: float
    least_supported: float
    impostor_trials: int
    gallery_size: int | None
    largest_gallery: int | None
    problem: str


@dataclass(eq=False)
class ConsentRequired(RequestError):
    code = "consent_required"
    message = (
        "This tenant enrolls nobody without a record of consent. "
        "Send 'consent': what the speaker agreed to, or where that is kept."
    )


@dataclass(eq=False)
class IdempotencyKeyReused(RequestError):
    code = "idempotency_key_reused"
    message = "The Idempotency-Key was used for another request before. Use a new one for each request."


# ---------------------------------------------------------------- who asks


class Forbidden(TimbreError):
    """Who asks may not, or not now."""


@dataclass(eq=False)
class Unauthorized(Forbidden):
    code = "unauthorized"
    message = "{problem}. Send a key as 'Authorization: Bearer …'; timbre keys create makes one."
    problem: str


@dataclass(eq=False)
class InsufficientScope(Forbidden):
    code = "insufficient_scope"
    message = "The key may not do this: it needs {needed} and has {held}. Use another key."
    needed: str
    held: str


@dataclass(eq=False)
class SpeakerOptedOut(Forbidden):
    code = "speaker_opted_out"
    message = (
        "Speaker '{speaker_id}' opted out and is neither enrolled nor compared. "
        "POST /v1/speakers/{speaker_id}:opt-in takes the objection back."
    )
    speaker_id: str


@dataclass(eq=False)
class VerificationLocked(Forbidden):
    code = "verification_locked"
    message = (
        "{failures} verifications of speaker '{speaker_id}' failed in a row; the next may be tried "
        "in {retry_after_s} s."
    )
    speaker_id: str
    failures: int
    retry_after_s: int


@dataclass(eq=False)
class RateLimited(Forbidden):
    code = "rate_limited"
    message = "The limit of {limit} is reached. Try again in {retry_after_s} s."
    limit: str
    retry_after_s: int


# ---------------------------------------------------------------- the recording


class AudioRefused(TimbreError):
    """The recording cannot be used; a better one can."""


@dataclass(eq=False)
class UnsupportedMediaType(AudioRefused):
    code = "unsupported_media_type"
    message = (
        "The bytes are no recording of a known kind ({found}). Send wav, flac, mp3, ogg, opus, m4a or webm."
    )
    found: str


@dataclass(eq=False)
class AudioEmpty(AudioRefused):
    code = "audio_empty"
    message = "The recording holds no samples. Record again."


@dataclass(eq=False)
class AudioUndecodable(AudioRefused):
    code = "audio_undecodable"
    message = "The recording looks like {container} but could not be decoded: {problem}. Export it again."
    container: str
    problem: str


@dataclass(eq=False)
class InvalidSamples(AudioRefused):
    code = "invalid_samples"
    message = "{count} samples are not finite numbers. Export the recording again."
    count: int


@dataclass(eq=False)
class SampleRateTooLow(AudioRefused):
    code = "sample_rate_too_low"
    message = (
        "The sample rate of {measured_hz} Hz is outside {required_hz} to {maximum_hz} Hz. "
        "Record at 8000 Hz or more, best 16000."
    )
    measured_hz: int
    required_hz: int
    maximum_hz: int


@dataclass(eq=False)
class AudioTooShort(AudioRefused):
    code = "audio_too_short"
    message = "The recording lasts {measured_s:.2f} s; at least {required_s:.2f} s are needed. Record longer."
    measured_s: float
    required_s: float


@dataclass(eq=False)
class AudioTooLong(AudioRefused):
    code = "audio_too_long"
    message = "The recording lasts more than {limit_s:.0f} s. Send a part of it."
    limit_s: float


@dataclass(eq=False)
class NoSpeech(AudioRefused):
    code = "no_speech"
    message = "No speech was found in {duration_s:.2f} s. Check the microphone and record again."
    duration_s: float


@dataclass(eq=False)
class InsufficientSpeech(AudioRefused):
    code = "insufficient_speech"
    message = "The recording holds {measured_s:.2f} s of speech; {required_s:.2f} s are needed. Speak longer."
    measured_s: float
    required_s: float


@dataclass(eq=False)
class TooNoisy(AudioRefused):
    code = "too_noisy"
    message = (
        "The signal-to-noise ratio is {measured_db:.1f} dB; at least {required_db:.1f} dB are needed. "
        "Record in a quieter place."
    )
    measured_db: float
    required_db: float


@dataclass(eq=False)
class Clipped(AudioRefused):
    code = "clipped"
    message = (
        "{measured_ratio:.1%} of the samples are clipped; at most {allowed_ratio:.1%} may be. "
        "Lower the recording level."
    )
    measured_ratio: float
    allowed_ratio: float


@dataclass(eq=False)
class TooQuiet(AudioRefused):
    code = "too_quiet"
    message = (
        "The level is {measured_dbfs:.1f} dBFS; at least {required_dbfs:.1f} are needed. "
        "Raise the recording level."
    )
    measured_dbfs: float
    required_dbfs: float


@dataclass(eq=False)
class SeveralVoices(AudioRefused):
    code = "several_voices"
    message = (
        "The recording seems to hold several voices: its parts differ by {score:.2f}, "
        "those of one voice by less than {threshold:.2f}. Record one speaker only."
    )
    score: float
    threshold: float


# ---------------------------------------------------------------- the gallery


class NotFound(TimbreError):
    """What the request names does not exist."""


@dataclass(eq=False)
class SpeakerNotFound(NotFound):
    code = "speaker_not_found"
    message = "No speaker '{speaker_id}' is enrolled. Enroll it with POST /enroll."
    speaker_id: str


@dataclass(eq=False)
class EnrollmentNotFound(NotFound):
    code = "enrollment_not_found"
    message = (
        "Speaker '{speaker_id}' has no enrollment '{enrollment_id}'. "
        "List them with GET /v1/speakers/{speaker_id}/enrollments."
    )
    speaker_id: str
    enrollment_id: str


@dataclass(eq=False)
class RouteNotFound(NotFound):
    code = "route_not_found"
    message = "There is no {method} {path}. The routes are listed under /docs."
    method: str
    path: str


@dataclass(eq=False)
class ModelNotFound(NotFound):
    code = "model_not_found"
    message = "There is no model '{model}'. The models are listed under /v1/models."
    model: str


@dataclass(eq=False)
class JobNotFound(NotFound):
    code = "job_not_found"
    message = "There is no job '{job_id}', or what it made is gone. List the jobs with GET /v1/jobs."
    job_id: str


@dataclass(eq=False)
class CalibrationNotFound(NotFound):
    code = "calibration_not_found"
    message = "There is no calibration '{calibration_id}'. List them with GET /v1/calibrations."
    calibration_id: str


@dataclass(eq=False)
class DecisionNotFound(NotFound):
    code = "decision_not_found"
    message = "The decision_id is none that this service gave to this tenant. Send it as it was answered."


@dataclass(eq=False)
class ReceiptNotFound(NotFound):
    code = "receipt_not_found"
    message = "There is no receipt '{receipt_id}'. List them with GET /v1/erasures."
    receipt_id: str


class Conflict(TimbreError):
    """The state of the gallery forbids it."""


@dataclass(eq=False)
class SpeakerExists(Conflict):
    code = "speaker_exists"
    message = "Speaker '{speaker_id}' exists. Use on_existing=append or on_existing=replace."
    speaker_id: str


@dataclass(eq=False)
class SpeakerNotEnrolled(Conflict):
    code = "speaker_not_enrolled"
    message = (
        "Speaker '{speaker_id}' has {measured_s:.2f} s of enrolled speech; {required_s:.2f} s are needed. "
        "Enroll more recordings."
    )
    speaker_id: str
    measured_s: float
    required_s: float


@dataclass(eq=False)
class ConcurrentModification(Conflict):
    code = "concurrent_modification"
    message = (
        "Speaker '{speaker_id}' was changed by another request at the same time. Send the request again."
    )
    speaker_id: str


@dataclass(eq=False)
class EnrollmentInconsistent(Conflict):
    code = "enrollment_inconsistent"
    message = (
        "The recording does not sound like speaker '{speaker_id}': the score against the earlier "
        "recordings is {score:.2f}, at least {threshold:.2f} is needed. "
        "Check who spoke, or use on_existing=replace."
    )
    speaker_id: str
    similarity: float
    score: float
    threshold: float


@dataclass(eq=False)
class VoiceAlreadyEnrolled(Conflict):
    code = "voice_already_enrolled"
    message = (
        "The voice is enrolled already, as speaker '{speaker_id}' (score {score:.2f}, threshold "
        "{threshold:.2f}). Enroll under that id, merge the two, or set the policy same_voice to warn."
    )
    speaker_id: str
    similarity: float
    score: float
    threshold: float


@dataclass(eq=False)
class ReenrollmentRequired(Conflict):
    code = "reenrollment_required"
    message = (
        "Speaker '{speaker_id}' was enrolled with another model and has nothing under {model_id}. "
        "Enroll again, or run a re-embedding job where recordings were kept."
    )
    speaker_id: str
    model_id: str


@dataclass(eq=False)
class TooFewTrials(Conflict):
    code = "too_few_trials"
    message = (
        "{found} {kind} are too few for a calibration; {needed} are needed. "
        "Confirm more decisions, or enroll more recordings."
    )
    kind: str
    found: int
    needed: int


@dataclass(eq=False)
class ModelServing(Conflict):
    code = "model_serving"
    message = "Model '{model}' serves already. Name another one for the trial."
    model: str


@dataclass(eq=False)
class JobRunning(Conflict):
    code = "job_running"
    message = "Job '{job_id}' is {status}. Wait for its end, or cancel it."
    job_id: str
    status: str


@dataclass(eq=False)
class JobWithoutResult(Conflict):
    code = "job_without_result"
    message = "Job '{job_id}' is {status}: it made nothing that could be fetched. Start another one."
    job_id: str
    status: str


@dataclass(eq=False)
class IdempotencyInProgress(Conflict):
    code = "idempotency_in_progress"
    message = "The first request with this Idempotency-Key is still at work. Try again in {retry_after_s} s."
    retry_after_s: int = 1


# ---------------------------------------------------------------- the moment


class Unavailable(TimbreError):
    """The service cannot answer now; the same request may succeed later."""

    retry_after_s: ClassVar[int] = 1


@dataclass(eq=False)
class ModelNotReady(Unavailable):
    code = "model_not_ready"
    message = "The model is still loading. Try again in a moment."


@dataclass(eq=False)
class IndexNotReady(Unavailable):
    code = "index_not_ready"
    message = "The index is being rebuilt. Try again in a moment."


@dataclass(eq=False)
class StorageUnavailable(Unavailable):
    code = "storage_unavailable"
    message = "The database does not answer. Nothing was stored; try again."


@dataclass(eq=False)
class Overloaded(Unavailable):
    code = "overloaded"
    message = "All {workers} workers are busy and {waiting} requests wait. Try again in {retry_after_s} s."
    workers: int
    waiting: int
    retry_after_s: int = 1  # type: ignore[misc]


@dataclass(eq=False)
class InferenceTimeout(Unavailable):
    code = "inference_timeout"
    message = "The model did not answer within {limit_s:.1f} s. Try again or send a shorter recording."
    limit_s: float


# ---------------------------------------------------------------- the start


class StartupError(TimbreError):
    """The service must not start like this; never sent over HTTP."""


@dataclass(eq=False)
class ModelInvalid(StartupError):
    code = "model_invalid"
    message = "The model in {path} cannot be used: {problem}."
    path: str
    problem: str


@dataclass(eq=False)
class ProviderUnavailable(StartupError):
    code = "provider_unavailable"
    message = (
        "{requested} was asked for but the model runs on {actual}. Install the CUDA libraries "
        "(pip install 'timbre[gpu]') or set TIMBRE_PROVIDER=cpu."
    )
    requested: str
    actual: str


@dataclass(eq=False)
class SchemaOutdated(StartupError):
    code = "schema_outdated"
    message = "The database stands at migration {found}, the program needs {needed}. Run: timbre migrate"
    found: str
    needed: str


@dataclass(eq=False)
class MigrationsMissing(StartupError):
    code = "migrations_missing"
    message = "The migrations are not in {path}. Install Timbre with the alembic folder beside app."
    path: str


@dataclass(eq=False)
class MasterKeyInvalid(StartupError):
    code = "master_key_invalid"
    message = "The master key of {name} cannot be used: {problem}. Put back the key of this database."
    name: str
    problem: str
