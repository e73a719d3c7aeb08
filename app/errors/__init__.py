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

from app.errors.gallery import (
    CalibrationNotFound,
    ConcurrentModification,
    Conflict,
    DecisionNotFound,
    EnrollmentInconsistent,
    EnrollmentNotFound,
    IdempotencyInProgress,
    JobNotFound,
    JobRunning,
    JobWithoutResult,
    ModelNotFound,
    ModelServing,
    NotFound,
    ReceiptNotFound,
    ReenrollmentRequired,
    RouteNotFound,
    SpeakerExists,
    SpeakerNotEnrolled,
    SpeakerNotFound,
    TooFewTrials,
    VoiceAlreadyEnrolled,
)
from app.errors.moment import (
    IndexNotReady,
    InferenceTimeout,
    MasterKeyInvalid,
    MigrationsMissing,
    ModelInvalid,
    ModelNotReady,
    Overloaded,
    ProviderUnavailable,
    SchemaOutdated,
    StartupError,
    StorageUnavailable,
    Unavailable,
)
from app.errors.recording import (
    AudioEmpty,
    AudioRefused,
    AudioTooLong,
    AudioTooShort,
    AudioUndecodable,
    Clipped,
    InsufficientSpeech,
    InvalidSamples,
    NoSpeech,
    SampleRateTooLow,
    SeveralVoices,
    TooNoisy,
    TooQuiet,
    UnsupportedMediaType,
)
from app.errors.request import (
    AudioMissing,
    ConflictingParameters,
    ConsentRequired,
    Forbidden,
    IdempotencyKeyReused,
    InsufficientScope,
    InvalidSpeakerId,
    MalformedRequest,
    MethodNotAllowed,
    PayloadTooLarge,
    RateLimited,
    RequestError,
    SpeakerOptedOut,
    Unauthorized,
    UnsupportedRate,
    ValidationFailed,
    VerificationLocked,
)
from app.errors.root import (
    TimbreError,
)

__all__ = [
    "AudioEmpty",
    "AudioMissing",
    "AudioRefused",
    "AudioTooLong",
    "AudioTooShort",
    "AudioUndecodable",
    "CalibrationNotFound",
    "Clipped",
    "ConcurrentModification",
    "Conflict",
    "ConflictingParameters",
    "ConsentRequired",
    "DecisionNotFound",
    "EnrollmentInconsistent",
    "EnrollmentNotFound",
    "Forbidden",
    "IdempotencyInProgress",
    "IdempotencyKeyReused",
    "IndexNotReady",
    "InferenceTimeout",
    "InsufficientScope",
    "InsufficientSpeech",
    "InvalidSamples",
    "InvalidSpeakerId",
    "JobNotFound",
    "JobRunning",
    "JobWithoutResult",
    "MalformedRequest",
    "MasterKeyInvalid",
    "MethodNotAllowed",
    "MigrationsMissing",
    "ModelInvalid",
    "ModelNotFound",
    "ModelNotReady",
    "ModelServing",
    "NoSpeech",
    "NotFound",
    "Overloaded",
    "PayloadTooLarge",
    "ProviderUnavailable",
    "RateLimited",
    "ReceiptNotFound",
    "ReenrollmentRequired",
    "RequestError",
    "RouteNotFound",
    "SampleRateTooLow",
    "SchemaOutdated",
    "SeveralVoices",
    "SpeakerExists",
    "SpeakerNotEnrolled",
    "SpeakerNotFound",
    "SpeakerOptedOut",
    "StartupError",
    "StorageUnavailable",
    "TimbreError",
    "TooFewTrials",
    "TooNoisy",
    "TooQuiet",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMediaType",
    "UnsupportedRate",
    "ValidationFailed",
    "VerificationLocked",
    "VoiceAlreadyEnrolled",
]
