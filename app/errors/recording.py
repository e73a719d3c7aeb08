"""The recording."""

from dataclasses import dataclass

from app.errors.root import TimbreError


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
