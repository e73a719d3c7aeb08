"""The request, and who asks."""

from dataclasses import dataclass

from app.errors.root import TimbreError


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
class UrlTooLong(RequestError):
    code = "url_too_long"
    message = "The URL is longer than the limit of {limit_bytes} bytes. Send the fields in a multipart body."
    limit_bytes: int


@dataclass(eq=False)
class HeadersTooLarge(RequestError):
    code = "headers_too_large"
    message = (
        "The header of the request has more than {limit_lines} lines or {limit_bytes} bytes. "
        "Send fewer headers."
    )
    limit_lines: int
    limit_bytes: int


@dataclass(eq=False)
class RequestTimeout(RequestError):
    code = "request_timeout"
    message = "The request did not arrive within {limit_s:g} s. Send it again, over a faster connection."
    limit_s: float


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
class ChallengeRequired(RequestError):
    code = "challenge_required"
    message = (
        "This tenant verifies nobody without a challenge. POST /v1/challenges gives the digits to say; "
        "send its challenge_id with their recording."
    )


@dataclass(eq=False)
class IdempotencyKeyReused(RequestError):
    code = "idempotency_key_reused"
    message = "The Idempotency-Key was used for another request before. Use a new one for each request."


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
class TooManyChallenges(Forbidden):
    code = "too_many_challenges"
    message = (
        "Speaker '{speaker_id}' has {open_challenges} open challenges. Use one of them, or try again in "
        "{retry_after_s} s, when the first has expired."
    )
    speaker_id: str
    open_challenges: int
    retry_after_s: int


@dataclass(eq=False)
class RateLimited(Forbidden):
    code = "rate_limited"
    message = "The limit of {limit} is reached. Try again in {retry_after_s} s."
    limit: str
    retry_after_s: int
