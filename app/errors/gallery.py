"""What the service holds: what is not there, and what its state forbids."""

from dataclasses import dataclass

from app.errors.root import TimbreError


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


@dataclass(eq=False)
class ChallengeNotFound(NotFound):
    code = "challenge_not_found"
    message = (
        "This speaker has no challenge '{challenge_id}', or it expired long ago. "
        "Ask for a new one with POST /v1/challenges."
    )
    challenge_id: str


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
class ChallengeExpired(Conflict):
    code = "challenge_expired"
    message = "The time for challenge '{challenge_id}' is over. Ask for a new one with POST /v1/challenges."
    challenge_id: str


@dataclass(eq=False)
class ChallengeSpent(Conflict):
    code = "challenge_spent"
    message = (
        "A verification was made with challenge '{challenge_id}' before; each is good for one. "
        "Ask for a new one with POST /v1/challenges."
    )
    challenge_id: str


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
