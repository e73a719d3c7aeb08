"""Segments: who of the enrolled speaks when in a long recording, unknown voices kept apart."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.arrays import Embedding
from app.audio.quality import AudioReport, refuse
from app.errors import AudioMissing
from app.scoring import IdentifyDecision, centroid, cosine, identify_decision
from app.scoring.turns import Labels, Turn, rules_of, turns_of, voices_of
from app.service.call import Call
from app.service.enrolment import check_speaker_id
from app.service.gallery import Nearest
from app.service.listening import hear, placed
from app.service.thresholds import Threshold, choose_for_search
from app.service.trace import stage
from app.service.windowed import Windowed, embed_windows
from app.store.records import StoredCentroid


@dataclass(frozen=True, kw_only=True)
class SegmentsRequest:
    """One recording and whom to look for in it."""

    recording: bytes | None
    threshold: float | None = None
    target_fpir: float | None = None
    min_margin: float | None = None
    candidate_ids: Sequence[str] | None = None
    group: str | None = None
    min_segment_s: float = 0.0
    max_speakers: int | None = None


@dataclass(frozen=True, kw_only=True)
class FoundSpeaker:
    """One voice of the recording, with a name or without."""

    label: str
    """The speaker_id, or `unknown-1`, `ambiguous-1` and so on in the order of their first words."""
    speaker_id: str | None
    decision: IdentifyDecision
    score: float | None
    """Log-likelihood ratio for the nearest of the enrolled; None when nobody is."""
    similarity: float | None
    """Cosine to the nearest of the enrolled."""
    margin: float | None
    """Lead over the second; None with fewer than two."""
    speech_s: float
    segments_count: int


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of one voice."""

    start_s: float
    end_s: float
    speaker: FoundSpeaker
    score: float | None
    """Log-likelihood ratio of this stretch alone for the speaker named; None for a voice without a name."""


@dataclass(frozen=True)
class Segments:
    """Who speaks when, and everything that it rests on."""

    segments: tuple[Segment, ...]
    speakers: tuple[FoundSpeaker, ...]
    """In the order of their first words."""
    threshold: Threshold
    min_margin: float
    """The least lead of a match."""
    gallery_size: int
    """Speakers searched for each voice."""
    audio: AudioReport


@dataclass(frozen=True)
class _Voice:
    """A voice while it is being named: its windows, and what the gallery says of them."""

    windows: Labels
    speech_s: float
    nearest: Nearest
    decision: IdentifyDecision
    margin: float | None

    @property
    def speaker_id(self) -> str | None:
        return self.nearest.candidates[0].speaker_id if self.decision == "match" else None


def segment(call: Call, request: SegmentsRequest) -> Segments:
    """Tell the voices of a recording apart, name those that are enrolled, and say when each speaks.

    Args:
        call: Who asks, and what serves them.
        request: The recording and whom to look for.

    Returns:
        The segments in the order of time. Voices that speak at once are not separated.

    Raises:
        AudioMissing: There is no recording.
        InvalidSpeakerId: A candidate id is not well formed.
        ConflictingParameters: Both a threshold and a rate were given.
        UnsupportedRate: The trials are too few to support the rate in this gallery.
        AudioRefused: The recording cannot be used.
        Unavailable: The model, the index or the database cannot answer now.
    """
    if request.recording is None:
        raise AudioMissing("audio")
    for speaker_id in request.candidate_ids or ():
        check_speaker_id(speaker_id)
    _threshold(call, request, _least_size(call, request))  # refused now rather than after an hour was heard
    with placed(field="audio"):
        utterance = hear(call, request.recording, long=True)
        refuse(utterance.report, call.limits)
        windowed = embed_windows(call, utterance)
    found = _named(_Search(call, request, windowed), utterance.report)
    if call.policy.audit_decisions:
        with stage("store"):
            for each in found.speakers:
                call.repository.append_audit(
                    call.tenant_id, call.by, "voice.identified", each.speaker_id, decision=each.decision
                )
    return found


def _threshold(call: Call, request: SegmentsRequest, gallery_size: int) -> Threshold:
    return choose_for_search(
        call.calibration,
        gallery_size,
        threshold=request.threshold,
        target_fpir=request.target_fpir,
        default_fpir=call.policy.target_fpir,
        default_fmr=call.policy.target_fmr,
    )


def _least_size(call: Call, request: SegmentsRequest) -> int:
    """Speakers who will be searched at least, as far as that is known beforehand."""
    if request.candidate_ids is not None or request.group is not None:
        return 0
    call.gallery.sync()
    return call.gallery.size


class _Search:
    """The gallery, asked about voices of one recording."""

    def __init__(self, call: Call, request: SegmentsRequest, windowed: Windowed) -> None:
        self.call, self.request, self.windowed = call, request, windowed
        self.min_margin = call.policy.min_margin if request.min_margin is None else request.min_margin
        self.threshold: Threshold | None = None
        self._enrolled: dict[str, StoredCentroid | None] = {}

    def embedding(self, windows: Labels) -> Embedding:
        return centroid(self.windowed.embeddings[windows], self.windowed.seconds[windows])

    def voice(self, windows: Labels) -> _Voice:
        """The voice of these windows, with the decision about its name."""
        call, request = self.call, self.request
        speech_s = float(self.windowed.seconds[windows].sum())
        nearest = call.gallery.nearest(
            self.embedding(windows),
            speech_s,
            2,
            call.calibration.score,
            speaker_ids=request.candidate_ids,
            group=request.group,
        )
        if self.threshold is None:  # the same for every voice, also if the gallery grows meanwhile
            self.threshold = _threshold(call, request, nearest.gallery_size)
        decision, margin = identify_decision(nearest.candidates, self.threshold.value, self.min_margin)
        return _Voice(windows, speech_s, nearest, decision, margin)

    def score(self, speaker_id: str, windows: Labels) -> float | None:
        """The score of these windows alone against a speaker, as SQL has the speaker now."""
        call = self.call
        if speaker_id not in self._enrolled:
            with stage("store"):
                found = call.repository.centroid_of(call.tenant_id, call.model_id, speaker_id)
            self._enrolled[speaker_id] = found
        enrolled = self._enrolled[speaker_id]
        if enrolled is None:  # deleted in this moment
            return None
        similarity = cosine(self.embedding(windows), enrolled.embedding)
        speech_s = float(self.windowed.seconds[windows].sum())
        return float(call.calibration.score.llr(similarity, enrolled.speech_s, speech_s))


def _named(search: _Search, audio: AudioReport) -> Segments:
    windowed, request = search.windowed, search.request
    labels = voices_of(
        windowed.embeddings,
        windowed.seconds,
        rules_of(search.call.serving.calibration),
        request.max_speakers,
    )
    voices, labels = _one_for_each_name(search, labels)
    turns = [
        turn
        for turn in turns_of(windowed.cells, labels)
        if turn.end_s - turn.start_s >= request.min_segment_s
    ]
    counts = Counter(turn.voice for turn in turns)
    speakers = [
        _speaker(voice, label, counts[number])
        for number, (voice, label) in enumerate(zip(voices, _labels(voices), strict=True))
    ]
    assert search.threshold is not None
    return Segments(
        segments=tuple(_segment(search, turn, speakers[turn.voice]) for turn in turns),
        speakers=tuple(speakers),
        threshold=search.threshold,
        min_margin=search.min_margin,
        gallery_size=voices[0].nearest.gallery_size,
        audio=audio,
    )


def _one_for_each_name(search: _Search, labels: Labels) -> tuple[list[_Voice], Labels]:
    """The voices in the order of their first words; those that got the same name are one speaker."""
    voices = [search.voice(np.flatnonzero(labels == number)) for number in range(labels.max() + 1)]
    joined: list[_Voice] = []
    merged = np.empty_like(labels)
    place: dict[str, int] = {}
    for voice in voices:
        number = place.setdefault(voice.speaker_id or f"\0{len(joined)}", len(joined))
        merged[voice.windows] = number
        if number == len(joined):
            joined.append(voice)
        else:
            longest = max(joined[number], voice, key=lambda each: each.speech_s)
            windows = np.union1d(joined[number].windows, voice.windows)
            speech_s = joined[number].speech_s + voice.speech_s
            joined[number] = replace(longest, windows=windows, speech_s=speech_s)
    return joined, merged


def _labels(voices: Sequence[_Voice]) -> Iterator[str]:
    numbers: Counter[str] = Counter()
    for voice in voices:
        numbers[voice.decision] += 1
        yield voice.speaker_id or f"{voice.decision}-{numbers[voice.decision]}"


def _speaker(voice: _Voice, label: str, segments_count: int) -> FoundSpeaker:
    best = voice.nearest.candidates[0] if voice.nearest.candidates else None
    return FoundSpeaker(
        label=label,
        speaker_id=voice.speaker_id,
        decision=voice.decision,
        score=best.score if best else None,
        similarity=best.similarity if best else None,
        margin=voice.margin,
        speech_s=voice.speech_s,
        segments_count=segments_count,
    )


def _segment(search: _Search, turn: Turn, speaker: FoundSpeaker) -> Segment:
    score = None
    if speaker.speaker_id is not None:
        score = search.score(speaker.speaker_id, np.arange(*turn.cells))
    return Segment(start_s=turn.start_s, end_s=turn.end_s, speaker=speaker, score=score)
