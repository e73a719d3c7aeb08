"""The same trials under other conditions: the tested recording changed, the enrolled side untouched."""

import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from app.arrays import Waveform
from app.audio.decode import decode
from app.embedder import Embedder
from app.errors import AudioRefused
from training.changes import Condition, spread
from training.corpus import Source
from training.metrics import Trials
from training.scored import LONGEST_S, Enrolments, Features, Measured, features_of, score_trials


@dataclass(frozen=True)
class Changed:
    """What became of the trials under one condition.

    Attributes:
        condition: The condition.
        measured: Trials by set in which the service still finds speech in the changed recording.
        untouched: The same trials with the recording as it was.
        refused: Share of the changed recordings in which it finds none, in [0, 1].
    """

    condition: Condition
    measured: Mapping[str, Measured]
    untouched: Mapping[str, Measured]
    refused: float


def measure_conditions(
    lists: Mapping[str, Trials],
    sources: Sequence[Source],
    enrolments: Enrolments,
    embedder: Embedder,
    conditions: Sequence[Condition],
    *,
    clips: int,
    threads: int = 1,
) -> list[Changed]:
    """Changes some of the tested recordings in every way and scores their trials again.

    Args:
        lists: Trials by set; those of the chosen tested recordings are used.
        sources: All recordings of the trials.
        enrolments: Of the recordings as they are.
        embedder: The model.
        conditions: What is done to the recordings.
        clips: Tested recordings of each set: those with most speech where recordings are cut, otherwise
            evenly spread over all.
        threads: Recordings changed and embedded at once.
    """
    chosen = {
        family: _tests(lists, enrolments.features, clips, family == "speech")
        for family in ("speech", "other")
    }
    wanted = {
        source.utterance_id: [
            c for c in conditions
            if source.utterance_id in chosen["speech" if c.family == "speech" else "other"]
        ]
        for source in sources
    }  # fmt: skip
    work = [(source, wanted[source.utterance_id]) for source in sources if wanted[source.utterance_id]]

    def one(job: tuple[Source, list[Condition]]) -> dict[str, Features | None]:
        return _changed(*job, embedder)

    with ThreadPoolExecutor(threads) as pool:
        bar = tqdm(pool.map(one, work), total=len(work), desc="changing recordings", unit="clip")
        found = dict(zip([source.utterance_id for source, _ in work], bar, strict=True))
    return [_rescored(condition, found, lists, enrolments) for condition in conditions]


def _tests(
    lists: Mapping[str, Trials], features: Mapping[str, Features], clips: int, longest: bool
) -> set[str]:
    """The tested recordings that are changed."""
    chosen: set[str] = set()
    for trials in lists.values():
        names = [name for name in dict.fromkeys(trials.test) if name in features]
        names.sort(key=lambda name: -features[name].speech_s if longest else 0)
        chosen |= set(names[:clips] if longest else spread(names, clips))
    return chosen


def _changed(
    source: Source, conditions: Sequence[Condition], embedder: Embedder
) -> dict[str, Features | None]:
    """Features of one recording by condition, None where no speech is left; without those it cannot have."""
    waveform: Waveform = decode(source.path.read_bytes(), max_duration_s=LONGEST_S).waveform
    found: dict[str, Features | None] = {}
    for condition in conditions:
        # One seed for a recording: the same noise at every level.
        data = condition.change(waveform, np.random.default_rng(zlib.crc32(source.utterance_id.encode())))
        if data is None:
            continue
        try:
            heard = features_of(data, embedder)
        except AudioRefused:
            found[condition.name] = None
            continue
        found[condition.name] = heard if heard.speech_s > 0 else None
    return found


def _rescored(
    condition: Condition,
    found: Mapping[str, Mapping[str, Features | None]],
    lists: Mapping[str, Trials],
    enrolments: Enrolments,
) -> Changed:
    outcome = {name: by[condition.name] for name, by in found.items() if condition.name in by}
    heard = {name: f for name, f in outcome.items() if f is not None}
    measured, untouched = {}, {}
    for home, trials in lists.items():
        kept = trials.among(enrolments.features, heard)
        if 0 < kept.labels.sum() < len(kept.labels):
            measured[home] = score_trials(kept, enrolments, tested=heard)
            untouched[home] = score_trials(kept, enrolments)
    refused = 1 - len(heard) / len(outcome) if outcome else 0.0
    return Changed(condition, measured, untouched, refused)
