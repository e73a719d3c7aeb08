"""The JSON of the main calls, name by name as the design has them."""

from typing import Literal

from app.api.schemas.challenges import ChallengeVerdict
from app.api.schemas.common import (
    Answer,
    Audio,
    Cosine,
    Distance,
    Explanation,
    Model,
    OperatingPointAnswer,
    Reason,
    Score,
    SearchPointAnswer,
    Seconds,
    Share,
)


class PadVerdict(Answer):
    """What the plug-in for presentation-attack detection says of the recording; see docs/threats.md."""

    evaluated: bool
    """False where there is no plug-in, the policy asks for none, or it failed: then nobody looked for played,
    converted and synthetic voices."""
    detector: str | None
    version: str | None
    score: Share | None
    """How much the recording looks like an attack, in [0, 1]."""
    threshold: Share | None
    """The detector's own: from it on the recording is taken for an attack."""
    decision: Literal["bona_fide", "attack"] | None


class ReplayVerdict(Answer):
    """Whether the recording is a copy of an earlier one of the speaker, in whatever coding."""

    checked: bool
    """False where the policy does not ask, and where there was nothing to compare with."""
    suspected: bool
    of: Literal["enrollment", "verification"] | None
    """What it is a copy of: a recording that is enrolled, or one that was accepted lately."""
    enrollment_id: str | None
    similarity: Share | None
    """How much of what was compared is equal: 1 for the same upload, about 0 for other recordings."""
    seconds: Seconds | None
    """How much was compared, in seconds."""


class ProgressAnswer(Answer):
    """How far a speaker is on the way to being enrolled."""

    speaker_id: str | None
    status: Literal["enrolling", "enrolled"]
    """`enrolled` once there is enough speech; only then is the speaker verified and identified."""
    enrollments_count: int
    """Recordings enrolled."""
    speech_s: Seconds
    """Speech enrolled, in seconds."""
    required_speech_s: Seconds
    """Speech needed, in seconds."""
    remaining_speech_s: Seconds
    """Speech still needed, in seconds."""
    progress: Share
    """Share of the needed speech, in [0, 1]."""


class TakeVerdict(Answer):
    """What became of one recording."""

    enrollment_id: str | None
    """Null when it was refused, and in a dry run."""
    accepted: bool
    duplicate: bool
    """The same clip was enrolled before; it counts once."""
    code: str | None
    """Why it was refused."""
    detail: str | None
    """The same for people."""
    audio: Audio | None
    """Null when it could not be decoded."""
    warnings: list[str]
    """What may make it worse, and the codes of the doubts."""
    doubts: list[Reason]
    """What speaks against it though the policy let it pass: `enrollment_inconsistent`, `several_voices` or
    `voice_already_enrolled`, with the numbers."""


class EnrollAnswer(ProgressAnswer):
    """The speaker after an enrolment."""

    speaker_id: str | None
    """Null only in a dry run without one."""
    enrollments: list[TakeVerdict]
    """One for each recording, in the order of the request."""
    consistency: Cosine | None
    """Mean cosine of the speaker's takes to their centroid; null with one take."""
    dry_run: bool
    """Nothing was stored."""
    model: Model
    request_id: str


class VerifyAnswer(Answer):
    """Is it this speaker?"""

    decision: Literal["accept", "reject"]
    decision_id: str
    """The decision, sealed: give it to `/v1/decisions/{decision_id}/feedback` to say who it really was."""
    speaker_id: str | None
    """Null when two clips were compared."""
    score: Score
    """Log-likelihood ratio of one voice to two, natural log: above 0 the recording speaks for the claim, and
    2.3 more make it ten times likelier. It takes in how much speech there was on both sides."""
    similarity: Cosine
    """Cosine of the embeddings; it decides nothing by itself."""
    distance: Distance
    """Euclidean distance of the embeddings, which have unit length: the root of 2 - 2 `similarity`, 0 for the
    same direction and 2 for the opposite one. It decides nothing by itself."""
    threshold: float
    """Least score that is accepted."""
    operating_point: OperatingPointAnswer | None
    """Null for a threshold of your own: nothing was measured at it."""
    explanation: list[Explanation]
    """Why, the most important first: what was held against what, with the numbers."""
    warnings: list[str]
    """What speaks against the way in which the recording came: `replayed_recording`,
    `presentation_attack_suspected`, `pad_failed`, `challenge_failed`. Where the policy's rule for it is
    `refuse`, and always where a challenge was not met, the decision is `reject` whatever the score."""
    replay: ReplayVerdict
    pad: PadVerdict
    challenge: ChallengeVerdict | None
    """Whether the digits of the challenge were said; null without a challenge."""
    audio: Audio
    audio_reference: Audio | None
    """The second clip, when there was one."""
    model: Model
    request_id: str


class CandidateAnswer(Answer):
    """One candidate, as the database holds the speaker now."""

    rank: int
    speaker_id: str
    score: Score
    """Log-likelihood ratio, natural log, for what this speaker has enrolled."""
    similarity: Cosine
    """Cosine of the embeddings."""
    margin: Score | None
    """Lead in score over the best of the others: below 0 for all but the first, null without others."""
    enrolled_speech_s: Seconds
    """Speech that the speaker has enrolled, in seconds."""


class IdentifyAnswer(Answer):
    """Whose voice is it?"""

    decision: Literal["match", "unknown", "ambiguous"]
    decision_id: str
    """The decision, sealed: give it to `/v1/decisions/{decision_id}/feedback` to say who it really was."""
    speaker_id: str | None
    """The speaker of a `match`, otherwise null."""
    candidates: list[CandidateAnswer]
    """The speakers with the highest scores, whatever the decision: `top_k`, or all where there are fewer."""
    margin: Score | None
    """Lead of the first candidate over the second, in score; null with fewer than two."""
    min_margin: float
    """Least lead of a match; with less the answer is `ambiguous`."""
    threshold: float
    """Least score of a match."""
    gallery_size: int
    """Speakers searched."""
    operating_point: SearchPointAnswer | None
    """Null for a threshold of your own: nothing was measured at it."""
    explanation: list[Explanation]
    """Why, the most important first: what was held against what, with the numbers."""
    warnings: list[str]
    """What speaks against the way in which the recording came: `replayed_recording`,
    `presentation_attack_suspected`, `pad_failed`. Where the policy's rule for it is `refuse`, the decision is
    `unknown`."""
    replay: ReplayVerdict
    """Compared with the recordings of the best candidate."""
    pad: PadVerdict
    audio: Audio
    model: Model
    request_id: str


class QualityAnswer(Answer):
    """What a recording is worth."""

    accepted: bool
    """The main calls would take it."""
    reasons: list[Reason]
    """Why they would not."""
    audio: Audio
    request_id: str
