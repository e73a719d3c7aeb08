"""Which pictures a report has, and what they are drawn from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.scoring import ScoreModel
from training.corpus import Source
from training.plots import plot_conditions, plot_det, plot_map, plot_reliability, plot_scores
from training.scored import Features, Measured

MOST_SPEAKERS, MOST_TAKES = 20, 15
"""Speakers on the map of embeddings, and recordings of each."""
LEAST_RECORDINGS: Final = 8
"""A map of fewer is none."""


def draw_pictures(
    figures: Mapping[str, Any],
    measured: Mapping[str, Measured],
    score: ScoreModel | None,
    features: Mapping[str, Features],
    sources: Sequence[Source],
    out: Path,
) -> None:
    """Draws every picture that the figures allow into a folder; an older one that they do not is removed."""
    for name in ("det", "scores", "conditions", "reliability", "map"):
        (out / f"{name}.png").unlink(missing_ok=True)
    curves = {name: (m.scores, m.labels) for name, m in measured.items()}
    plot_det(curves, out / "det.png")
    plot_scores(curves, out / "scores.png")
    if figures["conditions"]:
        plot_conditions(figures["conditions"], out / "conditions.png")
    known = {name: m.against_enrolments for name, m in measured.items()}
    usable = {name: m for name, m in known.items() if m.has_both_kinds}
    if score is not None and usable:
        llr = {
            name: (score.llr(m.enrolled, m.enrolled_speech_s, m.speech_s), m.labels)
            for name, m in usable.items()
        }
        plot_reliability(llr, out / "reliability.png")
    names = on_the_map(sources, features)
    if len(names) >= LEAST_RECORDINGS:
        of = {source.utterance_id: f"{source.set_name}: {source.speaker_id}" for source in sources}
        plot_map(
            np.stack([features[name].embedding for name in names]), [of[n] for n in names], out / "map.png"
        )


def on_the_map(sources: Sequence[Source], features: Mapping[str, Features]) -> list[str]:
    """Recordings of a few speakers: those with most of them, taken from each set in turn."""
    heard = [s for s in sources if s.utterance_id in features and features[s.utterance_id].speech_s > 0]
    home = {s.speaker_id: s.set_name for s in heard}
    ranks: Counter[str] = Counter()
    order = []
    for speaker, _ in Counter(s.speaker_id for s in heard).most_common():
        order.append((ranks[home[speaker]], speaker))
        ranks[home[speaker]] += 1
    chosen = [speaker for _, speaker in sorted(order, key=lambda pair: pair[0])[:MOST_SPEAKERS]]
    takes: Mapping[str, list[str]] = {speaker: [] for speaker in chosen}
    for source in heard:
        if source.speaker_id in takes and len(takes[source.speaker_id]) < MOST_TAKES:
            takes[source.speaker_id].append(source.utterance_id)
    return [name for names in takes.values() for name in names]
