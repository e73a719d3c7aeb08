"""How often a right recording is refused as inconsistent, and a wrong one is stopped.

    python -m benchmarks.consistency --corpus CORPUS [--model models/timbre-2]

Takes four recordings of each development speaker one after the other, as an enrolment does, and one of
somebody else against each; prints the table of docs/enrolling.md.
"""

import argparse
import csv
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from app.arrays import Embedding
from app.audio import prepare
from app.embedder import Embedder
from app.errors import AudioRefused
from app.scoring import centroid, cosine, load_calibration

RATES = (0.005, 0.01, 0.02, 0.05)
TAKES = 4
LEAST_SPEECH_S = 0.6
Take = tuple[Embedding, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("models/timbre-2"))
    args = parser.parse_args()
    calibration = load_calibration(args.model / "calibration.json")
    points = {rate: calibration.at_fnmr(rate) for rate in RATES}
    thresholds = {rate: point.threshold for rate, point in points.items() if point is not None}

    def score(take: Take, before: list[Take]) -> float:
        seconds = [speech_s for _, speech_s in before]
        similarity = cosine(take[0], centroid(np.stack([embedding for embedding, _ in before]), seconds))
        return float(calibration.score.llr(similarity, sum(seconds), take[1]))

    rng, others = random.Random(0), []
    tried: Counter[object] = Counter()
    refused: Counter[object] = Counter()
    for takes in speakers(args.corpus, args.model, rng):
        for place in range(1, len(takes)):
            cases: list[tuple[object, float]] = [(place, score(takes[place], takes[:place]))]
            if others:
                cases.append(("other", score(takes[place], rng.choice(others))))
            for case, found in cases:
                tried[case] += 1
                refused.update((rate, case) for rate, threshold in thresholds.items() if found < threshold)
        others.append(takes)
    print(f"{len(others)} speakers, {tried['other']} recordings of others")
    for rate in thresholds:
        shares = [refused[rate, case] / tried[case] for case in (*range(1, TAKES), "other")]
        print(f"{rate:.1%} missed: refused " + ", ".join(f"{share:.1%}" for share in shares))


def speakers(corpus: Path, model: Path, rng: random.Random) -> Iterator[list[Take]]:
    """Recordings of each development speaker that has enough, embedded."""
    found = defaultdict(list)
    with (corpus / "utterances.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] != "train":
                found[row["set"], row["speaker_id"]].append(row["path"])
    chosen = sorted(speaker for speaker, paths in found.items() if len(paths) >= TAKES)
    embedder = Embedder.load(model)
    for speaker in tqdm(rng.sample(chosen, len(chosen)), unit=" speakers"):
        takes = []
        for path in rng.sample(found[speaker], TAKES):
            try:
                utterance = prepare((corpus / path).read_bytes(), max_duration_s=60.0)
            except AudioRefused:
                continue
            if utterance.report.speech_s >= LEAST_SPEECH_S:
                takes.append((embedder.embed(utterance.waveform), utterance.report.speech_s))
        if takes:
            yield takes
    embedder.close()


if __name__ == "__main__":
    main()
