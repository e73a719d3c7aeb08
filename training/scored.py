"""Recordings and trial lists → scored trials, through the service's own path from bytes to embedding."""

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from app.arrays import Embedding, Embeddings
from app.audio import prepare
from app.embedder import Embedder
from app.errors import AudioRefused
from app.scoring import centroid
from app.scoring.rates import Floats
from training.baseline import mfcc_statistics, standardised
from training.corpus import Source
from training.metrics import Trials

LONGEST_S: Final = 600.0
"""Recordings longer than this are not read, in seconds."""


@dataclass(frozen=True)
class Measured:
    """The trials of one set with their scores; every array has one row for each trial.

    Attributes:
        enroll: Utterance ids of the first recordings.
        test: Utterance ids of the second, tested recordings.
        enroll_speakers: Speakers of the first recordings.
        test_speakers: Speakers of the tested recordings.
        enroll_speech_s: float64, speech in the first recording, in seconds.
        speech_s: float64, speech in the tested recording, in seconds.
        scores: float64, cosine of the two recordings' embeddings.
        baseline: float64, cosine of MFCC statistics.
        enrolled: float64, cosine of the tested recording to the centroid that the service would hold; NaN
            where the speaker has too little speech to be enrolled.
        enrolled_best: float64, its cosine to the nearest of the recordings behind that centroid, or NaN.
        enrolled_speech_s: float64, speech behind that centroid, in seconds, or NaN.
        labels: int64, 1 = target.
    """

    enroll: npt.NDArray[np.str_]
    test: npt.NDArray[np.str_]
    enroll_speakers: npt.NDArray[np.str_]
    test_speakers: npt.NDArray[np.str_]
    enroll_speech_s: Floats
    speech_s: Floats
    scores: Floats
    baseline: Floats
    enrolled: Floats
    enrolled_best: Floats
    enrolled_speech_s: Floats
    labels: npt.NDArray[np.int64]

    def chosen(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Self:
        """Some of the trials, by a mask or by their places."""
        return type(self)(*(getattr(self, field.name)[which] for field in fields(self)))

    @property
    def against_enrolments(self) -> Self:
        """The trials whose speaker can be enrolled."""
        return self.chosen(~np.isnan(self.enrolled))

    @property
    def has_both_kinds(self) -> bool:
        """Whether there are target and impostor trials."""
        return bool(0 < self.labels.sum() < len(self.labels))


@dataclass(frozen=True)
class Features:
    """What is kept of one recording.

    Attributes:
        embedding: By the model.
        statistics: float64 (80,), MFCC statistics.
        speech_s: Speech, in seconds.
        snr_db: Speech over background, in dB; NaN without speech.
        bandwidth_hz: Highest frequency of the speech, at most 8000; NaN without speech.
    """

    embedding: Embedding
    statistics: Floats
    speech_s: float
    snr_db: float = np.nan
    bandwidth_hz: float = np.nan


@dataclass(frozen=True)
class Enrolment:
    """Takes of one speaker as the service would hold them.

    Attributes:
        centroid: What stands for the speaker.
        references: float32 (takes, dim), the embeddings behind it.
        speech_s: Speech behind it, in seconds.
    """

    centroid: Embedding
    references: Embeddings
    speech_s: float


class Enrolments:
    """Enrolments as the service would hold them: takes of one speaker until there is enough speech.

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
        self.known: dict[tuple[str, str], Enrolment | None] = {}

    def of(self, first: str, held_out: str) -> Enrolment | None:
        """The enrolment that begins with `first` and lacks `held_out`; None where speech is too little."""
        takes = self.takes.get(self.speaker[first], [])
        if first not in takes:  # no speech was found in it: the service would refuse it
            return None
        key = (first, held_out if held_out in takes else "")
        if key not in self.known:
            place = takes.index(first)
            order = [name for name in takes[place:] + takes[:place] if name != held_out]
            speech = np.cumsum([self.features[name].speech_s for name in order])
            count = int(np.searchsorted(speech, self.required_s)) + 1
            self.known[key] = self._made(order[:count]) if count <= len(order) else None
        return self.known[key]

    def _made(self, names: Sequence[str]) -> Enrolment:
        chosen = [self.features[name] for name in names]
        references, speech = np.stack([f.embedding for f in chosen]), [f.speech_s for f in chosen]
        return Enrolment(centroid(references, speech), references, sum(speech))


def sources_of(lists: Mapping[str, Trials], sources: Sequence[Source]) -> list[Source]:
    """Every recording of the speakers in the trials: the trials' own, and what else may be enrolled.

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
    return [source for source in sources if source.speaker_id in speakers]


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """The options of every program that embeds recordings with a model."""
    add = parser.add_argument
    add("--model", type=Path, required=True, help="model folder")
    add("--corpus", type=Path, required=True, metavar="RECORDINGS", help="manifest CSV or folder per speaker")
    add("--threads", type=int, default=2, help="recordings embedded at once (default: %(default)s)")
    add("--cache", type=Path, metavar="FOLDER", help="keep embeddings there for the next run")


def add_enrolment_option(parser: argparse.ArgumentParser) -> None:
    """The option of the programs that score recordings against enrolments."""
    parser.add_argument(
        "--enroll-speech", type=float, default=4.0, metavar="S",
        help="speech of an enrollment in seconds, as TIMBRE_REQUIRED_SPEECH_S (default: %(default)s)",
    )  # fmt: skip


def features_of(data: bytes, embedder: Embedder) -> Features:
    """Features of one recording from the bytes of its file.

    Raises:
        AudioRefused: It cannot be decoded or embedded.
    """
    utterance = prepare(data, max_duration_s=LONGEST_S)
    report = utterance.report
    return Features(
        embedder.embed(utterance.waveform),
        mfcc_statistics(utterance.waveform),
        report.speech_s,
        np.nan if report.snr_db is None else report.snr_db,
        np.nan if report.bandwidth_hz is None else report.bandwidth_hz,
    )


def read_features(
    sources: Sequence[Source], embedder: Embedder, *, threads: int = 1, cache: Path | None = None
) -> tuple[dict[str, Features], list[str]]:
    """Features by utterance, and the ids of the recordings that cannot be embedded.

    Args:
        sources: Recordings.
        embedder: The model.
        threads: Recordings embedded at once.
        cache: Folder that keeps features between runs, by the hashes of the model's file and of the
            recording; empty it when the code between bytes and waveform has changed.
    """
    file = embedder.manifest.file_of(embedder.choice.precision)
    kept = cache / f"{file.sha256}.npz" if cache is not None and file is not None else None
    held: dict[str, Features | None] = _read_cache(kept) if kept is not None and kept.exists() else {}

    def one(source: Source) -> tuple[str, Features | None]:
        data = source.path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if digest in held:
            return digest, held[digest]
        try:
            return digest, features_of(data, embedder)
        except AudioRefused:
            return digest, None

    with ThreadPoolExecutor(threads) as pool:
        found = list(tqdm(pool.map(one, sources), total=len(sources), desc="embedding", unit="clip"))
    if kept is not None and not held.keys() >= {digest for digest, _ in found}:
        _write_cache(kept, held | dict(found))
    by_name = dict(zip([source.utterance_id for source in sources], (f for _, f in found), strict=True))
    return {n: f for n, f in by_name.items() if f is not None}, [n for n, f in by_name.items() if f is None]


def _write_cache(path: Path, held: Mapping[str, Features | None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    heard = {digest: features for digest, features in held.items() if features is not None}
    columns: dict[str, Any] = {
        field.name: np.array([getattr(f, field.name) for f in heard.values()]) for field in fields(Features)
    }
    refused = sorted(held.keys() - heard.keys())
    part = path.with_suffix(".part.npz")
    np.savez(part, digests=np.array(list(heard), "U64"), refused=np.array(refused, "U64"), **columns)
    part.replace(path)


def _read_cache(path: Path) -> dict[str, Features | None]:
    with np.load(path, allow_pickle=False) as arrays:
        columns = [arrays[field.name] for field in fields(Features)]
        heard = zip(arrays["digests"].tolist(), zip(*columns, strict=True), strict=True)
        return dict.fromkeys(arrays["refused"].tolist()) | {name: Features(*row) for name, row in heard}


def measure(lists: Mapping[str, Trials], enrolments: Enrolments) -> dict[str, Measured]:
    """Scores every trial of two recordings with features, by the model and against enrolments.

    Args:
        lists: Trial lists by set.
        enrolments: Of the recordings, see `sources_of` and `read_features`.
    """
    known = enrolments.features
    return {name: score_trials(trials.among(known, known), enrolments) for name, trials in lists.items()}


def score_trials(
    trials: Trials,
    enrolments: Enrolments,
    *,
    tested: Mapping[str, Features] | None = None,
) -> Measured:
    """Scores the trials of one set.

    Args:
        trials: Trials whose recordings all have features.
        enrolments: Of the recordings.
        tested: Features of the tested recordings, where those are not the same (changed recordings).
    """
    left = [enrolments.features[name] for name in trials.enroll]
    right = [(enrolments.features if tested is None else tested)[name] for name in trials.test]
    against = [enrolments.of(a, b) for a, b in zip(trials.enroll, trials.test, strict=True)]
    nearest = [
        (np.nan, np.nan, np.nan)
        if one is None
        else (float(one.centroid @ f.embedding), float((one.references @ f.embedding).max()), one.speech_s)
        for one, f in zip(against, right, strict=True)
    ]
    enrolled, best, enrolled_speech_s = np.array(nearest, np.float64).reshape(-1, 3).T
    heard = {id(f): f for f in (*left, *right)}  # each recording counts once in the mean over the set
    mfcc = standardised(np.stack([f.statistics for f in heard.values()]))
    row = dict(zip(heard, mfcc, strict=True))
    return Measured(
        enroll=np.array(trials.enroll, np.str_),
        test=np.array(trials.test, np.str_),
        enroll_speakers=np.array([enrolments.speaker[name] for name in trials.enroll], np.str_),
        test_speakers=np.array([enrolments.speaker[name] for name in trials.test], np.str_),
        enroll_speech_s=np.array([f.speech_s for f in left]),
        speech_s=np.array([f.speech_s for f in right]),
        scores=cosines(np.stack([f.embedding for f in left]), np.stack([f.embedding for f in right])),
        baseline=cosines(np.stack([row[id(f)] for f in left]), np.stack([row[id(f)] for f in right])),
        enrolled=enrolled,
        enrolled_best=best,
        enrolled_speech_s=enrolled_speech_s,
        labels=trials.labels,
    )


def cosines(left: Embeddings, right: Embeddings) -> Floats:
    """Cosines of unit vectors, row by row: 2 x float32 (trials, dim) → float64 (trials,)."""
    return np.asarray(np.sum(left * right, axis=1, dtype=np.float64))
