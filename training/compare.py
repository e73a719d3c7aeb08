"""Two files of one model on the same trials: does the fast one do what the exact one does?"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.embedder import Embedder, Precision
from app.scoring.rates import equal_error_rate
from training.corpus import Source
from training.scored import Features, Measured, cosines, read_features

MOST_EER: Final = 0.002
"""The second file's EER of one set may exceed the first's by this much, in [0, 1]; less is no fault."""
LEAST_COSINE: Final = 0.99
"""Mean cosine over the recordings of a set that the two embeddings of a recording must reach."""


def compare(
    model: Path,
    precision: Precision,
    sources: Sequence[Source],
    features: Mapping[str, Features],
    measured: Mapping[str, Measured],
    threads: int,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Measures another file of the model and gives a verdict for each set.

    Args:
        model: The model's folder.
        precision: Which file.
        sources: Their recordings.
        features: What the first file made of them.
        measured: What came of that.
        threads: Recordings embedded at once.
        cache: Folder that keeps embeddings between runs.

    Returns:
        `precision`, and by set: both EERs, mean and least cosine of the two embeddings of a recording with
        speech in it, and whether the set passes.
    """
    with closing(Embedder.load(model, precision=precision, workers=threads)) as embedder:
        others, _ = read_features(sources, embedder, threads=threads, cache=cache)
    rows = {}
    for name, m in sorted(measured.items()):
        # What is refused is refused before any file runs: both files have the same recordings.
        left, right = (np.stack([others[u].embedding for u in side.tolist()]) for side in (m.enroll, m.test))
        eers = equal_error_rate(m.scores, m.labels), equal_error_rate(cosines(left, right), m.labels)
        of_recordings = np.array(
            [
                features[u].embedding @ others[u].embedding
                for u in sorted({*m.enroll.tolist(), *m.test.tolist()} & features.keys())
                if others[u].speech_s > 0
            ]
        )
        rows[name] = {
            "eer": eers[0],
            "other_eer": eers[1],
            "cosine": float(of_recordings.mean()),
            "least_cosine": float(of_recordings.min()),
            "passed": bool(eers[1] - eers[0] <= MOST_EER and of_recordings.mean() >= LEAST_COSINE),
        }
    return {"precision": precision, "sets": rows}
