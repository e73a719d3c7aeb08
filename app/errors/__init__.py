"""Everything that Timbre refuses, as one tree of exceptions. Nothing here knows HTTP.

TimbreError
├── RequestError                the request contradicts itself or the contract
│   ├── MalformedRequest · ValidationFailed · ConflictingParameters · InvalidSpeakerId
│   ├── PayloadTooLarge · UrlTooLong · HeadersTooLarge · RequestTimeout
│   ├── AudioMissing · MethodNotAllowed · UnsupportedRate · ConsentRequired
│   └── IdempotencyKeyReused · ChallengeRequired
├── Forbidden                   who asks may not
│   ├── Unauthorized · InsufficientScope · SpeakerOptedOut · VerificationLocked · RateLimited
│   └── TooManyChallenges
├── AudioRefused                the recording cannot be used; carries what was measured
│   ├── UnsupportedMediaType · AudioEmpty · AudioUndecodable · InvalidSamples · SampleRateTooLow
│   ├── AudioTooShort · AudioTooLong · NoSpeech · InsufficientSpeech
│   └── TooNoisy · Clipped · TooQuiet · SeveralVoices
├── NotFound                    what the request names does not exist
│   ├── SpeakerNotFound · EnrollmentNotFound · RouteNotFound · ModelNotFound · JobNotFound
│   └── CalibrationNotFound · DecisionNotFound · ReceiptNotFound · ChallengeNotFound
├── Conflict                    the state of the gallery forbids it
│   ├── SpeakerExists · SpeakerNotEnrolled · ConcurrentModification · EnrollmentInconsistent
│   ├── VoiceAlreadyEnrolled · ReenrollmentRequired · TooFewTrials · JobRunning · ModelServing
│   └── IdempotencyInProgress · JobWithoutResult · ChallengeExpired · ChallengeSpent
├── Unavailable                 the service cannot answer now; the same call may succeed later
│   ├── ModelNotReady · IndexNotReady · StorageUnavailable · Overloaded · InferenceTimeout
│   └── LedgerUnavailable · DetectorUnavailable
└── StartupError                the service must not start
    ├── ModelInvalid · ProviderUnavailable · SchemaOutdated · MigrationsMissing · MasterKeyInvalid
    └── LedgerDamaged · DatabaseOlder · DatabaseInUse · BackupInvalid · DetectorInvalid
"""

from app.errors.gallery import (
    CalibrationNotFound,
    ChallengeExpired,
    ChallengeNotFound,
    ChallengeSpent,
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
    BackupInvalid,
    DatabaseInUse,
    DatabaseOlder,
    DetectorInvalid,
    DetectorUnavailable,
    IndexNotReady,
    InferenceTimeout,
    LedgerDamaged,
    LedgerUnavailable,
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
    ChallengeRequired,
    ConflictingParameters,
    ConsentRequired,
    Forbidden,
    HeadersTooLarge,
    IdempotencyKeyReused,
    InsufficientScope,
    InvalidSpeakerId,
    MalformedRequest,
    MethodNotAllowed,
    PayloadTooLarge,
    RateLimited,
    RequestError,
    RequestTimeout,
    SpeakerOptedOut,
    TooManyChallenges,
    Unauthorized,
    UnsupportedRate,
    UrlTooLong,
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
    "BackupInvalid",
    "CalibrationNotFound",
    "ChallengeExpired",
    "ChallengeNotFound",
    "ChallengeRequired",
    "ChallengeSpent",
    "Clipped",
    "ConcurrentModification",
    "Conflict",
    "ConflictingParameters",
    "ConsentRequired",
    "DatabaseInUse",
    "DatabaseOlder",
    "DecisionNotFound",
    "DetectorInvalid",
    "DetectorUnavailable",
    "EnrollmentInconsistent",
    "EnrollmentNotFound",
    "Forbidden",
    "HeadersTooLarge",
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
    "LedgerDamaged",
    "LedgerUnavailable",
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
    "RequestTimeout",
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
    "TooManyChallenges",
    "TooNoisy",
    "TooQuiet",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMediaType",
    "UnsupportedRate",
    "UrlTooLong",
    "ValidationFailed",
    "VerificationLocked",
    "VoiceAlreadyEnrolled",
]
