"""Small studies of a model on the development speakers of a corpus: command line and recordings."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from app.embedder import Embedder
from app.errors import TimbreError
from app.scoring import Calibration, load_calibration
from training.corpus import Source, read_sources
from training.scored import Features, add_enrolment_option, add_reading_options, read_features


@dataclass(frozen=True)
class Study:
    """What a study looks at.

    Attributes:
        sources: Recordings of development speakers, or all where the corpus has no split.
        features: Of the recordings that could be used, by utterance.
        calibration: The model's.
        enroll_speech_s: Speech that makes an enrolment, in seconds.
    """

    sources: Sequence[Source]
    features: Mapping[str, Features]
    calibration: Calibration
    enroll_speech_s: float


def run_study(
    name: str, words: str | None, report: Callable[[Study], str], arguments: Sequence[str] | None
) -> int:
    """The command line of a study.

    Args:
        name: Of its module.
        words: The module's docstring.
        report: From the recordings to what is printed.
        arguments: Of the command; those of the process when None.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}", description=words, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_reading_options(parser)
    add_enrolment_option(parser)
    args = parser.parse_args(arguments)
    try:
        print(report(_read(args)))
    except (ValueError, OSError, TimbreError) as problem:
        print(f"{name}: {problem}", file=sys.stderr)
        return 2
    return 0


def _read(args: argparse.Namespace) -> Study:
    everything = read_sources(args.corpus)
    split = any(source.split == "dev" for source in everything)
    sources = [source for source in everything if source.split == "dev" or not split]
    calibration = load_calibration(Path(args.model) / "calibration.json")
    with closing(Embedder.load(args.model, workers=args.threads)) as embedder:
        features, _ = read_features(sources, embedder, threads=args.threads, cache=args.cache)
    return Study(sources, features, calibration, args.enroll_speech)
