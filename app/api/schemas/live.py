"""The frames of /v1/verify/live."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.fields import ChallengeId, Rate, Score, SpeakerIdField
from app.api.schemas.common import Answer, Seconds
from app.api.schemas.voices import VerifyAnswer
from app.service.live import Encoding


class LiveStart(BaseModel):
    """The first frame of the client: whose voice it should be, and what the samples are."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    type: Literal["start"] = "start"
    speaker_id: SpeakerIdField
    """Whose voice it should be."""
    sample_rate_hz: int
    """Samples in a second: 8000 to 192000."""
    encoding: Encoding = "pcm_s16le"
    """Coding of the samples, one channel: 16-bit little-endian, or G.711."""
    threshold: Score | None = None
    """Accept at this score and above, instead of the default. Nothing is known of the errors there."""
    target_fmr: Rate | None = None
    """Use the threshold whose expected false-match rate is the nearest to this one, and not above it."""
    min_speech_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Speech before the first decision, in seconds; 3 when it is not given."""
    challenge_id: ChallengeId | None = None
    """The challenge of this speaker whose digits the samples say; the last decision spends it."""
    api_key: Annotated[str, Field(max_length=200)] | None = None
    """The key, where the client cannot set a header in the handshake, as a browser."""


class LiveProgressFrame(Answer):
    """Not enough yet."""

    type: Literal["progress"] = "progress"
    audio_s: Seconds
    """What has come, in seconds."""
    speech_s: Seconds
    """Speech in it, in seconds."""
    remaining_speech_s: Seconds
    """Speech that is still needed, in seconds."""
    code: str | None
    """Why the recording could not be used as it is so far, such as `too_noisy`."""


class LiveDecisionFrame(VerifyAnswer):
    """A decision about what has come so far."""

    type: Literal["decision"] = "decision"
    final: bool
    """The last one, and the one that counts."""
