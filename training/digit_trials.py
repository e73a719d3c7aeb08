"""How well a digit model tells that the asked digits were said: trials, threshold, figures, model card.

    python -m training.digit_trials --model models/digits-1 --corpus utterances.csv --noises noise.csv --write

Nobody who speaks here was learnt from. The threshold is chosen on speakers kept aside in the training split,
as the highest at which at most `--miss` of the right digits are missed; the figures are those of the other
speakers. Every recording is asked for the digits that it says, for other digits, for the same with one
digit changed, and for them in reverse.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from scipy.stats import binomtest
from tqdm import tqdm

from app.digits import DigitHearer
from app.digits.alignment import alignment_score
from app.digits.hearer import LOWEST_SCORE, write_threshold
from training.augment import AugmentConfig, Augmenter
from training.digit_pool import SENTENCES, SINGLE
from training.digit_speech import WORDS, Part, Said, put_together, read_said, synthetic

Asked: TypeAlias = Literal["said", "other", "one changed", "reversed", "unsaid"]
"""What is asked of a recording: what it says, something else of the same length, …; `unsaid`: any digits of a
recording that says none."""
_LENGTH: Final = 6
_OTHERS, _CHANGED = 4, 2
_NOISE_DB: Final = 10.0
_CARD: Final = Path(__file__).parent / "templates" / "DIGITS_CARD.md"
"""Text of the model card, with places for figures."""


@dataclass(frozen=True)
class Trial:
    """One question to one recording."""

    set_name: str
    speaker_id: str
    asked: Asked
    score: float


def trials_of(said: Said, hearer: DigitHearer, rng: np.random.Generator, name: str) -> Iterator[Trial]:
    """Asks a recording of digits, or of none, for everything that there is to ask."""
    frames = hearer.frames(said.waveform)

    def trial(asked: Asked, digits: Sequence[int]) -> Trial:
        score = max(alignment_score(frames, digits), LOWEST_SCORE)
        return Trial(name, said.speaker_id, asked, score)

    if said.digits is None:
        yield from (trial("unsaid", drawn(_LENGTH, rng)) for _ in range(_OTHERS))
        return
    right = list(said.digits)
    yield trial("said", right)
    yield from (trial("other", another(right, rng)) for _ in range(_OTHERS))
    yield from (trial("one changed", one_changed(right, rng)) for _ in range(_CHANGED))
    if right != right[::-1]:
        yield trial("reversed", right[::-1])


def drawn(count: int, rng: np.random.Generator) -> list[int]:
    """Digits as challenges are drawn: none twice in a row."""
    found = [int(rng.integers(10))]
    while len(found) < count:
        found.append(int((found[-1] + rng.integers(1, 10)) % 10))
    return found


def another(digits: Sequence[int], rng: np.random.Generator) -> list[int]:
    """As many other digits."""
    while (found := drawn(len(digits), rng)) == list(digits):
        pass
    return found


def one_changed(digits: Sequence[int], rng: np.random.Generator) -> list[int]:
    """The same but for one digit, still none twice in a row because of it."""
    found, place = list(digits), int(rng.integers(len(digits)))
    near = {digits[n] for n in (place - 1, place, place + 1) if 0 <= n < len(digits)}
    found[place] = int(rng.choice([digit for digit in range(10) if digit not in near]))
    return found


class Measured:
    """Recordings that nothing was learnt from, by part."""

    def __init__(self, manifest: Path, noises: Path | None, part: Part, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        single = [s for s in read_said(manifest, SINGLE, part, 2.0) if s.digits is not None]
        self.fsdd = [s for s in single if s.set_name == "fsdd"]
        self.volunteers = [s for s in single if s.set_name != "fsdd"]
        sentences = read_said(manifest, SENTENCES, part, 8.0)
        self.spoken = [s for s in sentences if s.digits is not None and len(s.digits) > 2]
        self.others = [s for s in sentences if not any(word in WORDS for word in s.words)]
        quiet = AugmentConfig(
            noise=1.0, babble=0.0, room=0.3, device=0.0, telephone=0.3, codec=0.0,
            snr_db=(_NOISE_DB, _NOISE_DB), simulated_rooms=10,
        )  # fmt: skip
        self.augmenter = Augmenter(quiet, noises, None, seed)

    def strings(self, count: int, part: Part) -> Iterator[tuple[str, Said]]:
        """Every recording to ask, with the name of its kind."""
        speakers = sorted({s.speaker_id for s in self.fsdd})
        kinds: list[tuple[str, int, Callable[[], Said]]] = [
            ("single digits joined, one voice", count if speakers else 0, lambda: self._joined(speakers)),
            (
                "single digits joined, several voices",
                count // 3 if self.volunteers else 0,
                lambda: self._string(self.volunteers),
            ),
        ]
        if part == "test":
            kinds.append(("synthetic voices", count // 2, self._synthetic))
        for name, number, make in kinds:
            for _ in tqdm(range(number), desc=name, leave=False):
                yield name, make()
        for said in self.spoken:
            yield "digits in running speech", said
        for said in self.others[:count]:
            yield "sentences without digits", said

    def noisy(self, said: Said) -> Said:
        """The same in noise at 10 dB, now and then in a room or over a telephone line."""
        return Said(self.augmenter(said.waveform, self.rng), said.words, said.speaker_id, said.set_name)

    def _joined(self, speakers: Sequence[str]) -> Said:
        speaker = speakers[int(self.rng.integers(len(speakers)))]
        return self._string([s for s in self.fsdd if s.speaker_id == speaker])

    def _string(self, among: Sequence[Said]) -> Said:
        by_word = {said.words[0]: [s for s in among if s.words == said.words] for said in among}
        found: list[Said] = []
        while len(found) < _LENGTH:
            words = [word for word in sorted(by_word) if not found or word != found[-1].words[0]]
            takes = by_word[words[int(self.rng.integers(len(words)))]]
            found.append(takes[int(self.rng.integers(len(takes)))])
        return put_together(found, self.rng)

    def _synthetic(self) -> Said:
        return synthetic([WORDS[digit] for digit in drawn(_LENGTH, self.rng)], self.rng, kept=True)


def collect(measured: Measured, hearer: DigitHearer, count: int, part: Part) -> list[Trial]:
    """Every trial of a part, on the recordings as they are and in noise."""
    found: list[Trial] = []
    for name, said in measured.strings(count, part):
        found += trials_of(said, hearer, measured.rng, name)
        if name != "synthetic voices":
            found += trials_of(measured.noisy(said), hearer, measured.rng, f"{name}, in noise")
    return found


def choose_threshold(trials: Sequence[Trial], miss: float) -> float:
    """The highest threshold at which at most a share `miss` of the right digits is missed, rounded down."""
    right = np.sort([trial.score for trial in trials if trial.asked == "said"])
    return float(np.floor(100 * right[int(miss * len(right))]) / 100)


def figures(trials: Sequence[Trial], threshold: float) -> list[dict[str, Any]]:
    """Errors by kind of recording and question: of `said` the share missed, of others the share passed."""
    rows = []
    for name in dict.fromkeys(trial.set_name for trial in trials):
        for asked in get_args(Asked):
            mine = [t for t in trials if (t.set_name, t.asked) == (name, asked)]
            if not mine:
                continue
            wrong = sum((t.score < threshold) == (asked == "said") for t in mine)
            low, high = binomtest(wrong, len(mine)).proportion_ci(method="exact")
            # Of strings of several voices nobody is the speaker.
            speakers = len({t.speaker_id for t in mine}) if all(t.speaker_id for t in mine) else None
            rows.append(
                {
                    "recordings": name,
                    "asked": asked,
                    "trials": len(mine),
                    "speakers": speakers,
                    "errors": wrong,
                }
                | {"rate": round(wrong / len(mine), 4), "interval": [round(low, 4), round(high, 4)]}
            )
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| recordings | digits asked for | speakers | trials | errors | rate | 95 % |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['recordings']} | {r['asked']} | {r['speakers'] or 'several'} | {r['trials']:,} "
        f"| {r['errors']:,} | {r['rate']:.1%} | {r['interval'][0]:.1%}–{r['interval'][1]:.1%} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.digit_trials",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the digit model")
    parser.add_argument("--corpus", type=Path, required=True, help="manifest CSV with the column text")
    parser.add_argument("--noises", type=Path, help="CSV of noises and responses")
    parser.add_argument("--strings", type=int, default=300, help="strings of one kind (default: %(default)s)")
    parser.add_argument("--miss", type=float, default=0.05, help="share missed aside (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write threshold, figures and card")
    args = parser.parse_args(arguments)
    with closing(DigitHearer.load(args.model, provider="cpu")) as hearer:
        aside = collect(Measured(args.corpus, args.noises, "aside", args.seed), hearer, args.strings, "aside")
        threshold = choose_threshold(aside, args.miss)
        found = collect(Measured(args.corpus, args.noises, "test", args.seed), hearer, args.strings, "test")
    rows = figures(found, threshold)
    text = table(rows)
    print(
        f"threshold {threshold}, chosen on {sum(t.asked == 'said' for t in aside)} recordings aside\n\n{text}"
    )
    if args.write:
        write_threshold(args.model, hearer.manifest, threshold, {"trials": rows})
        card = _CARD.read_text(encoding="utf-8")
        for name, value in (
            ("model_id", hearer.manifest.model_id),
            ("threshold", str(threshold)),
            ("table", text),
        ):
            card = card.replace("{" + name + "}", value)
        (args.model / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
