"""Would adaptive score normalisation pay? Error rates with and without a cohort of training speakers.

    python -m training.cohort --model models/timbre-2 --corpus utterances.csv --trials trials

The cohort is once drawn from every training set, and once, for each tested set, from all the others: in the
field, nobody has a cohort from the caller's own microphones.
"""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.arrays import Embeddings
from app.embedder import Embedder
from app.scoring.fitting import balance
from app.scoring.rates import Floats, equal_error_rate, error_rates
from training.corpus import Source, read_sources
from training.metrics import Trials, min_dcf, read_trial_folder
from training.scored import Features, add_reading_options, cosines, read_features, sources_of

NEAREST = 100
"""Members of the cohort, nearest to an embedding, by whose similarities it is normalised."""


def normalised(
    trials: Trials, features: Mapping[str, Features], cohort: Embeddings | None
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Similarities of a list, normalised by a cohort (count, dim) where there is one, and labels.

    Source: S. Cumani et al., "Comparison of speaker recognition approaches for real applications", 2011.
    """
    kept = trials.among(features, features)
    left, right = (np.stack([features[name].embedding for name in side]) for side in (kept.enroll, kept.test))
    scores = cosines(left, right)
    if cohort is not None:
        near = [np.sort(side @ cohort.T, axis=1)[:, -NEAREST:] for side in (left, right)]
        scores = np.mean([(scores - n.mean(axis=1)) / n.std(axis=1) for n in near], axis=0)
    return scores, kept.labels


def line(scored: Sequence[tuple[Floats, npt.NDArray[np.int64]]]) -> str:
    """Mean EER and minDCF over sets, and the FNMR of one threshold for all sets at two FMRs."""
    scores, labels = (np.concatenate(part) for part in zip(*scored, strict=True))
    block = np.repeat(np.arange(len(scored)), [len(s) for s, _ in scored])
    fmr, fnmr, _ = error_rates(scores, labels, balance(block, labels, 0.5))
    at = [100 * fnmr[np.flatnonzero(fmr <= target)[0]] for target in (0.01, 0.05)]
    eer = 100 * np.mean([equal_error_rate(*pair) for pair in scored])
    return f"{eer:7.2f} {np.mean([min_dcf(*pair) for pair in scored]):7.3f} {at[0]:11.1f} {at[1]:11.1f}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.cohort", description=__doc__)
    add_reading_options(parser)
    parser.add_argument("--trials", type=Path, required=True, help="folder of trial lists, one .txt per set")
    parser.add_argument("--size", type=int, default=6000, help="recordings in the cohort")
    args = parser.parse_args()
    lists, everything = read_trial_folder(args.trials), read_sources(args.corpus)
    training: list[Source] = read_sources(args.corpus, "train")
    drawn = np.random.default_rng(0).permutation(len(training))[: args.size]
    with closing(Embedder.load(args.model, workers=args.threads)) as embedder:
        features, _ = read_features(
            sources_of(lists, everything), embedder, threads=args.threads, cache=args.cache
        )
        found, _ = read_features(
            [training[i] for i in drawn], embedder, threads=args.threads, cache=args.cache
        )
    home = {source.utterance_id: source.set_name for source in training}
    cohort = np.stack([f.embedding for f in found.values()])
    homes = np.array([home[name] for name in found])
    print(f"{'':24}{'EER %':>7} {'minDCF':>7} {'FNMR@1 %':>11} {'FNMR@5 %':>11}")
    for words, of in (
        ("cosine", lambda _: None),
        ("cohort of all sets", lambda _: cohort),
        ("cohort of other sets", lambda name: cohort[homes != name]),
    ):
        print(f"{words:24}" + line([normalised(t, features, of(name)) for name, t in lists.items()]))


if __name__ == "__main__":
    main()
