"""How often one voice is taken for several, and several are found: the measure behind `several_voices`.

    python -m benchmarks.voices_apart CORPUS/utterances.csv [--clips 60]

Clips of one development speaker with 4 s of speech or more, and clips of two speakers of one set put
together: one behind the other, or by turns A B A B. Both voices are brought to one level first.
"""

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.audio import prepare
from app.audio.windows import windows
from app.embedder import Embedder
from app.errors import AudioRefused
from app.scoring import load_calibration
from app.scoring.turns import HOP_S, WINDOW_S, TurnRules, rules_of, several_voices
from app.service.voices_apart import LEAST_SPEECH_S
from app.settings import Settings
from training.corpus import Source, read_manifest

LEFT_OUT = {"ravdess", "bengali_digits", "speech_commands", "arabic_commands", "dspspeech20"}
"""Words, acted feelings: nobody enrolls with them."""
LONGEST = 8 * SAMPLE_RATE_HZ


@dataclass
class Judge:
    """The service's own way from speech to the verdict."""

    embedder: Embedder
    rules: TurnRules

    def several(self, speech: Waveform) -> bool:
        """Whether it would be said that several voices speak."""
        cut = windows(((0, len(speech)),), WINDOW_S, HOP_S).cuts
        return several_voices(np.stack([self.embedder.embed(speech[a:b]) for a, b in cut]), self.rules)[0]


def clips_of(sources: list[Source], most: int) -> list[tuple[str, Waveform]]:
    found = []
    for source in sources:
        try:
            heard = prepare(source.path.read_bytes(), max_duration_s=300)
        except AudioRefused:
            continue
        if heard.report.speech_s >= 1.5:
            found.append((source.speaker_id, heard.waveform))
        if len(found) >= most:
            break
    return found


def pair(first: Waveform, second: Waveform, *, by_turns: bool) -> Waveform:
    """Two voices in one recording."""
    a, b = (
        0.05 * each[:LONGEST] / (np.sqrt(np.mean(each[:LONGEST] ** 2)) + 1e-9) for each in (first, second)
    )
    if by_turns:
        (a, rest_a), (b, rest_b) = np.array_split(a, 2), np.array_split(b, 2)
        return np.concatenate([a, b, rest_a, rest_b]).astype(np.float32)
    return np.concatenate([a, b]).astype(np.float32)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.voices_apart", description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--clips", type=int, default=60, help="of each set (default: %(default)s)")
    given = parser.parse_args()
    settings = Settings()
    folder = settings.models_dir / settings.model
    embedder = Embedder.load(folder, precision=settings.precision)
    judge = Judge(embedder, rules_of(load_calibration(folder / "calibration.json")))
    by_set: dict[str, list[Source]] = defaultdict(list)
    for source in read_manifest(given.manifest, "dev"):
        if source.set_name not in LEFT_OUT:
            by_set[source.set_name].append(source)
    rng = np.random.default_rng(11)
    verdicts: dict[str, list[bool]] = defaultdict(list)
    least = LEAST_SPEECH_S * SAMPLE_RATE_HZ
    for name in sorted(by_set):
        clips = clips_of([by_set[name][i] for i in rng.permutation(len(by_set[name]))], given.clips)
        for _, speech in clips:
            if len(speech) >= least:
                verdicts[f"one voice, {name}"].append(judge.several(speech))
        for number in range(given.clips // 2):
            (who, first), (other, second) = (clips[i] for i in rng.choice(len(clips), 2, replace=False))
            if who == other or len(first) + len(second) < least:
                continue
            kind = "by turns" if number % 2 else "one behind the other"
            both = judge.several(pair(first, second, by_turns=bool(number % 2)))
            verdicts[f"two voices, {kind}"].append(both)
            if min(len(first), len(second)) >= 3 * SAMPLE_RATE_HZ:
                verdicts["two voices, 3 s of each"].append(both)
    embedder.close()
    alone = [verdict for kind, found in verdicts.items() if kind.startswith("one") for verdict in found]
    verdicts["one voice"] = alone
    for kind, found in sorted(verdicts.items()):
        row = {"kind": kind, "count": len(found), "several": sum(found), "share": round(np.mean(found), 4)}
        print(json.dumps(row))


if __name__ == "__main__":
    main()
