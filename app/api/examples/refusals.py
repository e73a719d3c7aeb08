"""One example of every refusal."""

from typing import Any, Final

from app import errors
from app.api.problems import internal_document, problem_document
from app.errors import TimbreError

REQUEST_ID: Final = "6f0c2f4d9f7c4f0e8a1d5b3c7e9a2b10"

REFUSALS: Final[tuple[TimbreError, ...]] = (
    errors.MalformedRequest("the multipart body ends before its closing boundary"),
    errors.ValidationFailed("top_k", "input should be less than or equal to 100"),
    errors.ConflictingParameters("speaker_id", "audio_reference"),
    errors.InvalidSpeakerId(),
    errors.PayloadTooLarge(limit_bytes=33_554_432),
    errors.UrlTooLong(limit_bytes=16_384),
    errors.HeadersTooLarge(limit_lines=100, limit_bytes=32_768),
    errors.RequestTimeout(limit_s=10.0),
    errors.AudioMissing(part="audio"),
    errors.MethodNotAllowed(method="GET", path="/enroll", allowed="POST"),
    errors.UnsupportedRate(
        field="target_fpir",
        asked=0.001,
        least_supported=0.0117,
        impostor_trials=51_038,
        gallery_size=200,
        largest_gallery=17,
        problem="51038 impostor trials support it for galleries of at most 17 speakers",
    ),
    errors.ConsentRequired(),
    errors.ChallengeRequired(),
    errors.IdempotencyKeyReused(),
    errors.Unauthorized(problem="There is no key in the request"),
    errors.InsufficientScope(needed="enroll", held="verify, read"),
    errors.SpeakerOptedOut(speaker_id="ada"),
    errors.VerificationLocked(speaker_id="ada", failures=5, retry_after_s=30),
    errors.RateLimited(limit="600 per 1 minute", retry_after_s=12),
    errors.TooManyChallenges(speaker_id="ada", open_challenges=5, retry_after_s=41),
    errors.SeveralVoices(score=2.31, threshold=1.85),
    errors.UnsupportedMediaType(found="pdf"),
    errors.AudioEmpty(),
    errors.AudioUndecodable(container="flac", problem="the stream ends in the middle of a frame"),
    errors.InvalidSamples(count=12),
    errors.SampleRateTooLow(measured_hz=6000, required_hz=8000, maximum_hz=192_000),
    errors.AudioTooShort(measured_s=0.21, required_s=0.6),
    errors.AudioTooLong(limit_s=300.0),
    errors.NoSpeech(duration_s=4.0),
    errors.InsufficientSpeech(measured_s=0.42, required_s=0.6),
    errors.TooNoisy(measured_db=-5.2, required_db=-3.0),
    errors.Clipped(measured_ratio=0.31, allowed_ratio=0.1),
    errors.TooQuiet(measured_dbfs=-71.4, required_dbfs=-65.0),
    errors.SpeakerNotFound(speaker_id="ada"),
    errors.EnrollmentNotFound(speaker_id="ada", enrollment_id="0b7a4c1e9d2f4b8f9f64f0f9e4f0a1c2"),
    errors.RouteNotFound(method="GET", path="/v1/speaker"),
    errors.ModelNotFound(model="timbre-9"),
    errors.JobNotFound(job_id="5a1f0c2e7d9b4c35a6e8f00112233445"),
    errors.CalibrationNotFound(calibration_id="5a1f0c2e7d9b4c35a6e8f00112233445"),
    errors.DecisionNotFound(),
    errors.ChallengeNotFound(challenge_id="pQ4v0mXr1Yw8s2KzT6bJcQ"),
    errors.ReceiptNotFound(receipt_id="5a1f0c2e7d9b4c35a6e8f00112233445"),
    errors.SpeakerExists(speaker_id="ada"),
    errors.SpeakerNotEnrolled(speaker_id="ada", measured_s=2.1, required_s=4.0),
    errors.ConcurrentModification(speaker_id="ada"),
    errors.EnrollmentInconsistent(speaker_id="ada", similarity=0.11, score=-4.2, threshold=-2.1),
    errors.VoiceAlreadyEnrolled(speaker_id="grace", similarity=0.81, score=7.1, threshold=4.4),
    errors.ReenrollmentRequired(speaker_id="ada", model_id="timbre-2@1f0e9c7d5b3a"),
    errors.TooFewTrials(kind="target trials", found=12, needed=100),
    errors.ChallengeExpired(challenge_id="pQ4v0mXr1Yw8s2KzT6bJcQ"),
    errors.ChallengeSpent(challenge_id="pQ4v0mXr1Yw8s2KzT6bJcQ"),
    errors.ModelServing(model="timbre-2"),
    errors.JobRunning(job_id="5a1f0c2e7d9b4c35a6e8f00112233445", status="running"),
    errors.JobWithoutResult(job_id="5a1f0c2e7d9b4c35a6e8f00112233445", status="cancelled"),
    errors.IdempotencyInProgress(),
    errors.ModelNotReady(),
    errors.IndexNotReady(),
    errors.StorageUnavailable(),
    errors.LedgerUnavailable(problem="No space left on device"),
    errors.Overloaded(workers=2, waiting=16),
    errors.InferenceTimeout(limit_s=30.0),
    errors.DetectorUnavailable(problem="it takes too long"),
    errors.ModelInvalid(path="models/timbre-2", problem="the hash of model.onnx is another one"),
    errors.ProviderUnavailable(requested="cuda", actual="CPUExecutionProvider"),
    errors.SchemaOutdated(found="0001", needed="0002"),
    errors.MigrationsMissing(path="alembic"),
    errors.DetectorInvalid(detector="spoofnet", problem="no installed package brings it; there are: none"),
    errors.MasterKeyInvalid(name="data/master.key", problem="the stored voices were sealed with another one"),
    errors.LedgerDamaged(path="data/timbre.erasures", line=7),
    errors.DatabaseOlder(path="data/timbre.erasures"),
    errors.DatabaseInUse(database="sqlite:///data/timbre.db"),
    errors.BackupInvalid(path="backups/monday", problem="manifest.json is missing"),
)
"""An instance of each leaf of the tree."""


def refusal_example(leaf: type[TimbreError]) -> dict[str, Any]:
    """The problem document of a leaf, exactly as the service would send it."""
    return problem_document(next(each for each in REFUSALS if type(each) is leaf), REQUEST_ID)


def internal_example() -> dict[str, Any]:
    """The problem document of a failure of the service itself."""
    return internal_document(REQUEST_ID)
