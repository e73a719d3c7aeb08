"""Recordings and trial lists → scored trials, through the service's own path from bytes to embedding."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from app.arrays import Embedding
from app.audio import prepare
from app.embedder import Embedder
from app.errors import AudioRefused
from app.scoring import centroid
from training.baseline import mfcc_statistics, standardised
from training.corpus import Source
from training.metrics import Floats, Trials

_LONGEST_S = 600.0


@dataclass(frozen=True)
class Measured:
    """The trials of one set with their scores.

    Attributes:
        scores: float64 (trials,), cosine of the two recordings' embeddings.
        baseline: float64 (trials,), cosine of MFCC statistics.
        enrolled: float64 (trials,), cosine to the centroid that the service would hold; NaN where the
            speaker has too little speech to be enrolled.
        labels: int64 (trials,), 1 = target.
    """

    scores: Floats
    baseline: Floats
    enrolled: Floats
    labels: npt.NDArray[np.int64]

    @property
    def against_enrolments(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Scores and labels of the trials whose speaker can be enrolled."""
        known = ~np.isnan(self.enrolled)
        return self.enrolled[known], self.labels[known]


@dataclass(frozen=True)
class Features:
    """One recording: its embedding, its MFCC statistics and its seconds of speech."""

    embedding: Embedding
    statistics: npt.NDArray[np.float64]
    speech_s: float


class Enrolments:
    """Centroids as the service would hold them: takes of one speaker until there is enough speech.

    Args:
        sources: Recordings; those of one speaker are taken in their order, from the trial's own on.
        features: Features by utterance.
        required_s: Speech that makes an enrolment, in seconds.
    """

    def __init__(
        self, sources: Sequence[Source], features: Mapping[str, Features], required_s: float
    ) -> None:
        self.features, self.required_s = features, required_s
        self.speaker = {s.utterance_id: s.speaker_id for s in sources}
        self.takes: dict[str, list[str]] = {}
        for source in sources:
            if source.utterance_id in features and features[source.utterance_id].speech_s > 0:
                self.takes.setdefault(source.speaker_id, []).append(source.utterance_id)
        self.known: dict[tuple[str, str], Embedding | None] = {}

    def centroid(self, first: str, held_out: str) -> Embedding | None:
        """The centroid of an enrolment that begins with `first` and lacks `held_out`; None if too short."""
        takes = self.takes.get(self.speaker[first], [])
        if first not in takes:  # no speech was found in it: the service would refuse it
            return None
        key = (first, held_out if held_out in takes else "")
        if key not in self.known:
            place = takes.index(first)
            order = [name for name in takes[place:] + takes[:place] if name != held_out]
            speech = np.cumsum([self.features[name].speech_s for name in order])
            count = int(np.searchsorted(speech, self.required_s)) + 1
            chosen = [self.features[name] for name in order[:count]]
            self.known[key] = (
                centroid(np.stack([f.embedding for f in chosen]), [f.speech_s for f in chosen])
                if count <= len(order)
                else None
            )
        return self.known[key]


def measure(
    lists: Mapping[str, Trials],
    sources: Sequence[Source],
    embedder: Embedder,
    *,
    threads: int = 1,
    required_s: float = 4.0,
) -> tuple[dict[str, Measured], list[str]]:
    """Scores every trial by the model, against enrolments, and by the baseline.

    Args:
        lists: Trial lists by set.
        sources: Recordings; all of a trial's speakers are embedded, for the enrolments.
        embedder: The model.
        threads: Recordings embedded at once.
        required_s: Speech of an enrolment, in seconds.

    Returns:
        The measured sets by name, and the utterances that the service refuses, whose trials are left out.

    Raises:
        ValueError: A trial names an utterance that the corpus lacks.
    """
    wanted = {name for trials in lists.values() for name in (*trials.enroll, *trials.test)}
    missing = wanted - {source.utterance_id for source in sources}
    if missing:
        raise ValueError(
            f"the corpus lacks {len(missing)} utterances of the trials, {min(missing)!r} among them"
        )
    speakers = {source.speaker_id for source in sources if source.utterance_id in wanted}
    chosen = [source for source in sources if source.speaker_id in speakers]
    features, refused = _features(chosen, embedder, threads)
    enrolments = Enrolments(chosen, features, required_s)
    measured = {}
    for name, trials in lists.items():
        pairs = zip(trials.enroll, trials.test, strict=True)
        keep = [i for i, (a, b) in enumerate(pairs) if a in features and b in features]
        measured[name] = _scored(trials.chosen(keep), features, enrolments)
    return measured, refused


def _features(
    sources: Sequence[Source], embedder: Embedder, threads: int
) -> tuple[dict[str, Features], list[str]]:
    """Features by utterance, and the ids of the recordings that cannot be embedded."""

    def one(source: Source) -> Features | None:
        try:
            utterance = prepare(source.path.read_bytes(), max_duration_s=_LONGEST_S)
            embedding = embedder.embed(utterance.waveform)
        except AudioRefused:
            return None
        return Features(embedding, mfcc_statistics(utterance.waveform), utterance.report.speech_s)

    with ThreadPoolExecutor(threads) as pool:
        bar = tqdm(pool.map(one, sources), total=len(sources), desc="embedding", unit="clip")
        found = dict(zip([source.utterance_id for source in sources], bar, strict=True))
    return {n: f for n, f in found.items() if f is not None}, [n for n, f in found.items() if f is None]


def _scored(trials: Trials, features: Mapping[str, Features], enrolments: Enrolments) -> Measured:
    names = sorted({*trials.enroll, *trials.test})
    mfcc = standardised(np.stack([features[name].statistics for name in names]))
    enrolled = []
    for first, held_out in zip(trials.enroll, trials.test, strict=True):
        centre = enrolments.centroid(first, held_out)
        enrolled.append(np.nan if centre is None else float(centre @ features[held_out].embedding))
    return Measured(
        scores=_cosines({name: features[name].embedding for name in names}, trials),
        baseline=_cosines(dict(zip(names, mfcc, strict=True)), trials),
        enrolled=np.array(enrolled),
        labels=trials.labels,
    )


def _cosines(vectors: Mapping[str, npt.NDArray[np.float32]], trials: Trials) -> Floats:
    left = np.stack([vectors[name] for name in trials.enroll])
    right = np.stack([vectors[name] for name in trials.test])
    return np.asarray(np.sum(left * right, axis=1, dtype=np.float64))
