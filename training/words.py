"""Words as a network hears them: the average embedding of each word, its nearest words, and how good that is.

    python -m training.words --run runs/speech2vec-skipgram --corpus utterances.csv

Reads the recordings of one word of the manifest's split `dev` (column `text`), set by set, since a set is
also a language and a channel. Half of a set's speakers say what a word's average is, the other half are
asked: how often is the nearest average that of the word that was said? The same network with random weights
is asked too, since it tells words apart far better than chance. Writes words.md and words.png into the run.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from app.arrays import SAMPLE_RATE_HZ, Embeddings
from app.scoring import unit
from training.corpus import Corpus, load_corpus, place_of, read_sources
from training.groups import Columns, read_columns
from training.methods import load_network
from training.plots import plot_map
from training.segments import filled, spoken_part, word_clips

LEAST = 3
"""Instances of a word that an average is made of; words with fewer are left out."""
NEAREST = 3
_MAP_WORDS, _MAP_TAKES = 12, 40
_BATCH = 64


@dataclass(frozen=True)
class Spoken:
    """Recordings of single words.

    Attributes:
        words: What each says.
        speakers: Who says each.
        embeddings: float32 (recordings, dim), unit length.
    """

    words: npt.NDArray[np.str_]
    speakers: npt.NDArray[np.str_]
    embeddings: Embeddings

    def chosen(self, mask: npt.NDArray[np.bool_]) -> "Spoken":
        """The recordings where the mask is true."""
        return Spoken(self.words[mask], self.speakers[mask], self.embeddings[mask])

    def halves(self) -> tuple["Spoken", "Spoken"]:
        """The recordings of one half of the speakers and of the other; a label alone decides on its side."""
        order = sorted(set(self.speakers.tolist()), key=place_of)
        first = np.isin(self.speakers, order[: len(order) // 2])
        return self.chosen(first), self.chosen(~first)


@dataclass(frozen=True)
class Dictionary:
    """Words with their average embeddings.

    Attributes:
        words: In alphabetical order.
        means: float32 (words, dim), unit length.
        counts: Instances that each average is made of.
    """

    words: npt.NDArray[np.str_]
    means: Embeddings
    counts: npt.NDArray[np.int64]

    def nearest(
        self, embeddings: Embeddings, most: int
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
        """Places of the nearest words and their cosines, each (embeddings, most)."""
        cosines = embeddings @ self.means.T
        places = np.argsort(-cosines, axis=1, kind="stable")[:, :most]
        return places, np.take_along_axis(cosines, places, axis=1)


def dictionary(spoken: Spoken, least: int = LEAST) -> Dictionary:
    """Averages the embeddings of each word that was said at least `least` times."""
    words, counts = np.unique(spoken.words, return_counts=True)
    words, counts = words[counts >= least], counts[counts >= least]
    sums = [spoken.embeddings[spoken.words == word].sum(axis=0) for word in words]
    return Dictionary(words, np.array([unit(total) for total in sums], np.float32), counts)


@dataclass(frozen=True)
class Found:
    """How one set's words are told apart.

    Attributes:
        right: Share of `asked` recordings whose nearest average is that of their word.
        asked: Recordings of speakers who are in no average.
        speakers: Who said them.
        dictionary: The averages.
    """

    right: float
    asked: int
    speakers: int
    dictionary: Dictionary

    @property
    def chance(self) -> float:
        """The share that guessing gets."""
        return 1 / len(self.dictionary.words)


def find(spoken: Spoken) -> Found | None:
    """Asks the second half of the speakers for the averages of the first; None with nothing to choose."""
    learnt, asked = spoken.halves()
    averages = dictionary(learnt)
    asked = asked.chosen(np.isin(asked.words, averages.words))
    if len(averages.words) < 2 or not len(asked.words):
        return None
    places, _ = averages.nearest(asked.embeddings, 1)
    right = float(np.mean(averages.words[places[:, 0]] == asked.words))
    return Found(right, len(asked.words), len(set(asked.speakers.tolist())), averages)


def spoken_words(corpus: Corpus, columns: Columns, network: keras.Model, seconds: float) -> dict[str, Spoken]:
    """Embeds every recording of one word, by set; each is heard as in training, repeated to `seconds`."""
    words = word_clips(corpus.utterance_ids, columns)
    chosen = np.array([place for place, name in enumerate(corpus.utterance_ids) if name in words], int)
    length = int(seconds * SAMPLE_RATE_HZ)
    parts = [
        network.predict_on_batch(
            np.stack([filled(spoken_part(corpus.waveform(place)), length) for place in batch])
        )
        for batch in np.split(chosen, range(_BATCH, len(chosen), _BATCH))
        if len(batch)
    ]
    if not parts:
        raise ValueError("no recording is one word that another says too: the manifest's `text` tells")
    everything = Spoken(
        np.array([words[corpus.utterance_ids[place]] for place in chosen]),
        np.array([corpus.speaker_ids[corpus.speakers[place]] for place in chosen]),
        np.concatenate(parts),
    )
    sets = np.array([corpus.sets[place] for place in chosen])
    return {name: everything.chosen(sets == name) for name in np.unique(sets).tolist()}


def found_in(spoken: dict[str, Spoken]) -> dict[str, Found]:
    """The sets in which there is something to choose."""
    return {name: found for name, said in spoken.items() if (found := find(said)) is not None}


def untrained(network: keras.Model, seed: int = 0) -> keras.Model:
    """The same network with random weights."""
    keras.utils.set_random_seed(seed)
    return keras.models.clone_model(network)


def listing(found: dict[str, Found], before: dict[str, Found]) -> str:
    """The figures and the nearest words as Markdown; `before` is what the untrained network finds."""
    lines = [
        "| set | words | asked | speakers | right | untrained | chance |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {len(f.dictionary.words)} | {f.asked} | {f.speakers} "
        f"| {f.right:.1%} | {before[name].right:.1%} | {f.chance:.1%} |"
        for name, f in found.items()
    ]
    lines += ["", "| set | word | instances | nearest words (cosine) |", "|---|---|---|---|"]
    for name, f in found.items():
        places, cosines = f.dictionary.nearest(f.dictionary.means, NEAREST + 1)
        for word, count, near, likeness in zip(
            f.dictionary.words, f.dictionary.counts, places, cosines, strict=True
        ):
            others = ", ".join(
                f"{f.dictionary.words[place]} ({cosine:.2f})"
                for place, cosine in zip(near[1:], likeness[1:], strict=True)  # the first is the word itself
            )
            lines.append(f"| {name} | {word} | {count} | {others} |")
    return "\n".join(lines) + "\n"


def draw(spoken: Spoken, path: Path) -> None:
    """Instances of the most frequent words of a set, each word in a colour of its own."""
    chosen: list[int] = []
    for word, _ in Counter(spoken.words.tolist()).most_common(_MAP_WORDS):
        chosen += np.flatnonzero(spoken.words == word)[:_MAP_TAKES].tolist()
    plot_map(spoken.embeddings[chosen], spoken.words[chosen].tolist(), path)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.words",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--run", type=Path, required=True, help="folder of the run; its branch.keras is asked"
    )
    parser.add_argument("--corpus", type=Path, required=True, help="manifest CSV with the column text")
    parser.add_argument("--split", default="dev", help="rows of the manifest to read (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder for words.md and words.png (default: --run)")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("runs/cache"),
        help="folder for decoded audio (default: %(default)s)",
    )
    args = parser.parse_args(arguments)
    if not (args.run / "branch.keras").is_file():
        parser.error(f"{args.run} has no branch.keras; has the run ended?")
    corpus = load_corpus(read_sources(args.corpus, args.split), args.cache)
    seconds = json.loads((args.run / "recipe.json").read_text())["stage"][-1]["crop_s"]
    network = load_network(args.run / "branch.keras")
    columns = read_columns(args.corpus)
    spoken = spoken_words(corpus, columns, network, seconds)
    found = found_in(spoken)
    if not found:
        parser.error("no set has two words that speakers of both halves say")
    out = args.out or args.run
    out.mkdir(parents=True, exist_ok=True)
    text = listing(found, found_in(spoken_words(corpus, columns, untrained(network), seconds)))
    (out / "words.md").write_text(text, encoding="utf-8")
    draw(spoken[max(found, key=lambda name: found[name].asked)], out / "words.png")
    print(text)


if __name__ == "__main__":
    main()
