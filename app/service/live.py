"""Live verification: samples as they come, a decision as soon as there is enough speech."""

import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

from app.audio.decode import MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ
from app.audio.quality import refuse
from app.errors import (
    AudioEmpty,
    AudioRefused,
    InferenceTimeout,
    MalformedRequest,
    Overloaded,
    SampleRateTooLow,
    TimbreError,
    ValidationFailed,
)
from app.service.call import Call
from app.service.listening import Heard, hear
from app.service.trace import current, stage
from app.service.verification import Verification, VerificationRequest, admit, decide, settle

Encoding: TypeAlias = Literal["pcm_s16le", "mulaw", "alaw"]
ENOUGH_SPEECH_S: Final = 3.0
"""Speech for the first decision when the caller says nothing, in seconds."""
_STEP_S: Final = 0.5
_STEP_SHARE: Final = 0.1
"""New audio after which the recording is looked at again: half a second, later a tenth of what there is."""
_REFINED_S: Final = 1.0
"""More speech after which there is another decision, in seconds."""


class _Coding(NamedTuple):
    """How a WAV file says how its samples are coded."""

    tag: int
    sample_bytes: int


_CODINGS: Final[Mapping[Encoding, _Coding]] = MappingProxyType(
    {"pcm_s16le": _Coding(1, 2), "alaw": _Coding(6, 1), "mulaw": _Coding(7, 1)}
)


@dataclass(frozen=True, kw_only=True)
class LiveRequest:
    """Whose voice the samples should be, and what they are."""

    speaker_id: str
    sample_rate_hz: int
    encoding: Encoding = "pcm_s16le"
    threshold: float | None = None
    target_fmr: float | None = None
    min_speech_s: float | None = None
    challenge_id: str | None = None


@dataclass(frozen=True)
class LiveProgress:
    """What has come so far, while it is too little for a decision; in seconds."""

    audio_s: float
    speech_s: float
    remaining_speech_s: float
    code: str | None = None
    """Why the recording could not be used as it is so far."""


class LiveVerification:
    """One conversation; its methods wait for decoder and model, and are not for two threads at a time."""

    def __init__(self, call: Call, request: LiveRequest) -> None:
        """Check all that can be known before the first sample.

        Raises:
            ValidationFailed: `min_speech_s` is outside what the service can promise.
            SampleRateTooLow: No recording of this rate would be taken.
            ConflictingParameters, UnsupportedRate, InvalidSpeakerId, SpeakerNotFound, SpeakerOptedOut,
            SpeakerNotEnrolled, ReenrollmentRequired, VerificationLocked, ChallengeRequired,
            ChallengeNotFound, ChallengeSpent, ChallengeExpired, Unavailable: As a verification.
        """
        settings = call.settings
        rate, coding = request.sample_rate_hz, _CODINGS[request.encoding]
        if not MIN_SAMPLE_RATE_HZ <= rate <= MAX_SAMPLE_RATE_HZ:
            raise SampleRateTooLow(rate, MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ)
        longest_s = min(settings.live_max_duration_s, settings.max_duration_s)
        self._enough_s = request.min_speech_s or min(ENOUGH_SPEECH_S, longest_s)
        if not settings.min_speech_s <= self._enough_s <= longest_s:
            raise ValidationFailed("min_speech_s", f"choose from {settings.min_speech_s:g} to {longest_s:g}")
        self._call, self._rate, self._coding = call, rate, coding
        self._claim = VerificationRequest(
            recording=None,
            speaker_id=request.speaker_id,
            threshold=request.threshold,
            target_fmr=request.target_fmr,
            challenge_id=request.challenge_id,
        )
        self._threshold = admit(call, self._claim)
        self._most_bytes = int(longest_s * rate) * coding.sample_bytes
        self._samples = bytearray()
        self._looked_at = 0
        self._last: Verification | None = None
        self._settled = False

    def add(self, frame: bytes) -> None:
        """Take samples; what exceeds the longest recording is left.

        Raises:
            MalformedRequest: The frame ends within a sample.
        """
        if len(frame) % self._coding.sample_bytes:
            raise MalformedRequest(f"a frame holds whole samples of {self._coding.sample_bytes} bytes")
        self._samples += frame[: self._most_bytes - len(self._samples)]

    @property
    def full(self) -> bool:
        """The longest recording has come; it ends here."""
        return len(self._samples) >= self._most_bytes

    @property
    def due(self) -> bool:
        """So much is new that it is worth a look."""
        new = len(self._samples) - self._looked_at
        step_s = max(_STEP_S, _STEP_SHARE * self._seconds(self._looked_at))
        return self._seconds(new) >= step_s

    def look(self) -> LiveProgress | Verification | None:
        """Look at what has come so far.

        Returns:
            The decision, where there is enough speech and clearly more than at the last decision; before the
            first one the progress; None where there is nothing new to say, or no time for it now.

        Raises:
            NotFound, Conflict: The speaker changed meanwhile.
            Unavailable: The database does not answer.
        """
        self._looked_at = len(self._samples)
        try:
            return self._decided()
        except AudioRefused as refusal:  # it may yet get better
            if self._last is not None:
                return None
            audio_s = self._seconds(self._looked_at)
            speech_s = float((refusal.audio or {}).get("speech_s", 0.0))
            code = None if refusal.code in _NOT_YET else refusal.code
            return LiveProgress(audio_s, speech_s, max(0.0, self._enough_s - speech_s), code)
        except (Overloaded, InferenceTimeout):  # the next samples bring another chance
            return None

    def finish(self) -> Verification:
        """Decide for the last time; only this decision counts.

        Raises:
            AudioRefused: What has come cannot be used, or holds too little speech.
            NotFound, Conflict: The speaker changed meanwhile.
            Unavailable: Decoder, model or database cannot answer now.
        """
        if not self._samples:
            raise AudioEmpty
        found = self._decided(last=True)
        assert found is not None
        self._settled = True
        settle(self._call, found)
        return found

    def abandon(self) -> None:
        """Let the last decision count, when somebody saw it and left: looking is not free."""
        if self._last is not None and not self._settled:
            self._settled = True
            with suppress(TimbreError):
                settle(self._call, self._last)

    def _decided(self, *, last: bool = False) -> Verification | None:
        call, trace = self._call, current()
        heard_before_s = trace.audio_s
        utterance = hear(call, self._wav())
        # The same audio is heard again and again, and counts once.
        trace.audio_s = max(heard_before_s, utterance.report.duration_s)
        refuse(utterance.report, call.limits, required_speech_s=self._enough_s)
        speech_s = utterance.report.speech_s
        if not last and self._last is not None and speech_s < self._last.audio.speech_s + _REFINED_S:
            return None
        with stage("embed"):
            embedding = call.embedder.embed(utterance.waveform, before=current().go_on)
        self._last = decide(call, self._claim, self._threshold, Heard(utterance, embedding))
        return self._last

    def _seconds(self, count: int) -> float:
        return count / (self._coding.sample_bytes * self._rate)

    def _wav(self) -> bytes:
        """What has come, as a file for the decoders, which know how to tell speech from noise."""
        tag, size = self._coding
        fields = (tag, 1, self._rate, self._rate * size, size, 8 * size)
        head = struct.pack("<4sIHHIIHH", b"fmt ", 16, *fields)
        data = struct.pack("<4sI", b"data", len(self._samples)) + bytes(self._samples)
        return struct.pack("<4sI4s", b"RIFF", 4 + len(head) + len(data), b"WAVE") + head + data


_NOT_YET: Final = frozenset({"no_speech", "insufficient_speech", "audio_too_short"})
"""Refusals that only say that more has to come."""
