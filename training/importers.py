"""Manifests for the corpora of the field, from the folders that their archives unpack to.

    python -m training.importers voxceleb    VoxCeleb/    --out voxceleb.csv --trials veri_test.txt
    python -m training.importers librispeech LibriSpeech/ --out librispeech.csv
    python -m training.importers commonvoice cv-corpus/   --out commonvoice.csv

The recordings stay where they are: a manifest names them relative to itself. Splits are `train`, `dev` (for
choosing) and `test` (the corpus's own test speakers, whom nothing is chosen by); no speaker is in two.
"""

import argparse
import csv
import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from training.corpus import AUDIO_SUFFIXES, place_of
from training.metrics import read_trials

_VOX_SPEAKER = re.compile(r"id\d{5}")
_VOX1_TEST = range(10270, 10310)
"""Numbers of the speakers of VoxCeleb1's own verification test. Source: Nagrani et al., VoxCeleb, 2017."""
_GENDERS = {"m": "m", "f": "f", "male": "m", "female": "f", "male_masculine": "m", "female_feminine": "f"}


class LayoutNotFound(ValueError):
    """The folder does not hold the corpus that it should, or not as its archives unpack."""


@dataclass(frozen=True)
class Row:
    """One line of a manifest; the fields are its columns."""

    utterance_id: str
    speaker_id: str
    path: str
    set: str
    split: str
    session: str
    gender: str
    language: str
    licence: str


def voxceleb(root: Path) -> list[Row]:
    """VoxCeleb 1 and 2: `…/idNNNNN/VIDEO/NNNNN.wav` (or m4a) at any depth; a session is a video.

    The test speakers are those of VoxCeleb1's list and all below a folder with `test` in its name.
    Genders come from `vox1_meta.csv` and `vox2_meta.csv` in `root`, where they are.

    Raises:
        LayoutNotFound: No such file is there.
    """
    genders = dict(_vox_genders(root))
    rows = []
    for path in sorted(root.rglob("id*/*/*")):
        speaker = path.parts[-3]
        if path.suffix.lower() not in AUDIO_SUFFIXES or not _VOX_SPEAKER.fullmatch(speaker):
            continue
        above = path.relative_to(root).parts[:-3]
        held_out = int(speaker[2:]) in _VOX1_TEST or any("test" in part.lower() for part in above)
        rows.append(
            Row(
                utterance_id=f"{speaker}/{path.parts[-2]}/{path.stem}",
                speaker_id=speaker,
                path=str(path),
                set="voxceleb1" if speaker.startswith("id1") else "voxceleb2",
                split="test" if held_out else "train",
                session=path.parts[-2],
                gender=genders.get(speaker, ""),
                language="",
                licence="CC BY 4.0",
            )
        )
    return _found(rows, root, "wav/id10001/VIDEO/00001.wav or dev/aac/id00012/VIDEO/00001.m4a")


def _vox_genders(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(root.glob("vox*_meta.csv")):
        for line in path.read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in re.split(r"[\t,]", line)]
            gender = next((_GENDERS[cell] for cell in cells[1:] if cell in ("m", "f")), "")
            if _VOX_SPEAKER.fullmatch(cells[0]):
                yield cells[0], gender


def librispeech(root: Path) -> list[Row]:
    """LibriSpeech: `SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac`; a session is a chapter.

    The subsets `dev-*` and `test-*` are the splits of that name. Genders come from `SPEAKERS.TXT`.

    Args:
        root: The folder `LibriSpeech`, or the one that holds it.

    Raises:
        LayoutNotFound: No such file is there.
    """
    inner = root / "LibriSpeech"
    root = inner if inner.is_dir() else root
    genders = dict(_libri_genders(root / "SPEAKERS.TXT"))
    rows = []
    for path in sorted(root.glob("*/*/*/*.flac")):
        subset, speaker, chapter, _ = path.relative_to(root).parts
        if path.stem.split("-")[:2] != [speaker, chapter]:
            continue
        part = subset.split("-")[0]
        rows.append(
            Row(
                utterance_id=path.stem,
                speaker_id=f"libri-{speaker}",
                path=str(path),
                set="librispeech",
                split=part if part in ("dev", "test") else "train",
                session=chapter,
                gender=genders.get(speaker, ""),
                language="en",
                licence="CC BY 4.0",
            )
        )
    return _found(rows, root, "train-clean-100/103/1240/103-1240-0000.flac")


def _libri_genders(table: Path) -> Iterator[tuple[str, str]]:
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    for line in lines:
        cells = [cell.strip() for cell in line.split("|")]
        if not line.startswith(";") and len(cells) > 2:
            yield cells[0], _GENDERS.get(cells[1].lower(), "")


def common_voice(root: Path) -> list[Row]:
    """Common Voice: `LANGUAGE/validated.tsv` (or train, dev, test) beside `LANGUAGE/clips/`.

    Speakers of `dev.tsv` and `test.tsv` are those splits, with all their validated clips. A speaker's
    label is a short hash of the long client id; one client has one label in every language.

    Args:
        root: Folder of one language, or of several such folders.

    Raises:
        LayoutNotFound: No language, or none of its clips, is there.
    """
    folders = [p for p in (root, *sorted(root.iterdir())) if (p / "clips").is_dir()] if root.is_dir() else []
    rows = [row for folder in folders for row in _language(folder)]
    splits: dict[str, str] = {}
    for row in rows:  # one client may be of the test in one language and of the training in another
        if row.split != "train":
            splits[row.speaker_id] = max(row.split, splits.get(row.speaker_id, ""))
    rows = [replace(row, split=splits.get(row.speaker_id, row.split)) for row in rows]
    return _found(rows, root, "en/validated.tsv and en/clips/common_voice_en_1.mp3")


def _language(folder: Path) -> list[Row]:
    tables = {name: _table(folder / f"{name}.tsv") for name in ("validated", "train", "dev", "test")}
    clips = tables["validated"] or tables["train"] + tables["dev"] + tables["test"]
    split_of = {line["client_id"]: name for name in ("dev", "test") for line in tables[name]}
    there = {path.name for path in (folder / "clips").iterdir()}
    rows = []
    for line in clips:
        if line["path"] not in there:
            continue
        language = line.get("locale") or folder.name
        rows.append(
            Row(
                utterance_id=Path(line["path"]).stem,
                speaker_id="cv-" + hashlib.sha256(line["client_id"].encode()).hexdigest()[:12],
                path=str(folder / "clips" / line["path"]),
                set=f"common_voice_{language}",
                split=split_of.get(line["client_id"], "train"),
                session="",
                gender=_GENDERS.get(line.get("gender") or "", ""),
                language=language,
                licence="CC0-1.0",
            )
        )
    return rows


def _table(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if missing := {"client_id", "path"} - set(reader.fieldnames or ()):
            raise LayoutNotFound(f"{path} lacks the column(s) {', '.join(sorted(missing))}")
        return list(reader)


def _found(rows: list[Row], root: Path, example: str) -> list[Row]:
    if not rows:
        raise LayoutNotFound(f"{root} holds no recording of this corpus. Expected {root}/{example}")
    return rows


IMPORTERS: dict[str, Callable[[Path], list[Row]]] = {
    "voxceleb": voxceleb,
    "librispeech": librispeech,
    "commonvoice": common_voice,
}


def with_dev_speakers(rows: Sequence[Row], share: float) -> list[Row]:
    """Makes about `share` of the training speakers the dev split, where the layout has none.

    Who it is follows from the labels alone, so that every machine chooses the same.
    """
    if any(row.split == "dev" for row in rows):
        return list(rows)
    return [
        replace(row, split="dev") if row.split == "train" and place_of(row.speaker_id) < share else row
        for row in rows
    ]


def write_manifest(rows: Iterable[Row], manifest: Path) -> None:
    """Writes the CSV that `--corpus` takes; paths become relative to it."""
    manifest.parent.mkdir(parents=True, exist_ok=True)
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        for row in rows:
            writer.writerow(asdict(row) | {"path": os.path.relpath(row.path, manifest.parent)})


def convert_trials(source: Path, rows: Iterable[Row], target: Path) -> int:
    """Writes a trial list of VoxCeleb with the manifest's utterance ids.

    Args:
        source: Lines `label id10270/VIDEO/00001.wav id10270/VIDEO/00002.wav`.
        rows: The manifest; every recording of the list must be there.
        target: The list to write.

    Returns:
        The number of trials.

    Raises:
        ValueError: A line has another form, or a recording is missing.
    """
    known = {row.utterance_id for row in rows}
    trials = read_trials(source)
    pairs = [[str(Path(name).with_suffix("")) for name in side] for side in (trials.enroll, trials.test)]
    if missing := sorted(set(pairs[0] + pairs[1]) - known):
        raise ValueError(f"{source} names {len(missing)} recordings that are not there, first {missing[0]}")
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = (f"{label} {one} {other}\n" for label, one, other in zip(trials.labels, *pairs, strict=True))
    target.write_text("".join(lines), encoding="utf-8")
    return len(trials.labels)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.importers", description="Write the manifest of a corpus of the field."
    )
    parser.add_argument("corpus", choices=sorted(IMPORTERS), help="whose layout it is")
    parser.add_argument("root", type=Path, nargs="+", help="folder(s) that its archives were unpacked to")
    parser.add_argument("--out", type=Path, required=True, help="manifest to write (CSV)")
    parser.add_argument(
        "--dev-share",
        type=float,
        default=0.02,
        help="share of the speakers for the dev split, if the corpus has none (default: %(default)s)",
    )
    parser.add_argument(
        "--trials", type=Path, nargs="*", default=[], help="VoxCeleb's own lists, e.g. veri_test.txt"
    )
    parser.add_argument(
        "--trials-out", type=Path, help="folder for the converted lists (default: trials beside --out)"
    )
    options = parser.parse_args(arguments)
    try:
        rows = [row for root in options.root for row in IMPORTERS[options.corpus](root)]
        rows = with_dev_speakers(rows, options.dev_share)
        write_manifest(rows, options.out)
        for path in options.trials:
            target = (options.trials_out or options.out.parent / "trials") / path.name
            print(f"{target}: {convert_trials(path, rows, target)} trials")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for split, clips in sorted(Counter(row.split for row in rows).items()):
        speakers = len({row.speaker_id for row in rows if row.split == split})
        print(f"{options.out}: {split}, {speakers} speakers, {clips} clips")
    return 0


if __name__ == "__main__":
    sys.exit(main())
