"""Figures, the model's manifest and the corpus → MODEL_CARD.md."""

import csv
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from app.embedder import read_manifest
from training.figures import Row
from training.groups import Columns
from training.report import TEMPLATES, environment, interval, percent, table

_NOT_MEASURED: Final = "was not measured: expect it to cost."


def data_sets() -> dict[str, dict[str, str]]:
    """What is known of data sets beyond a manifest's columns, by the name of the set."""
    return tomllib.loads((TEMPLATES / "datasets.toml").read_text(encoding="utf-8"))


def evaluation_only() -> set[str]:
    """Names of the sets that nothing may be trained on."""
    return {name for name, facts in data_sets().items() if "evaluation_only" in facts}


def write_card(
    folder: Path,
    figures: Mapping[str, Any],
    columns: Columns,
    *,
    noises: Path | None = None,
    benchmark: Path | None = None,
) -> Path:
    """Writes the card of a model into its folder.

    Args:
        folder: The model's folder, with its manifest.json.
        figures: The content of figures.json.
        columns: The corpus manifest; its training split is what the model is said to be made of.
        noises: Manifest of noises, for their licences.
        benchmark: A text file with what a benchmark printed.

    Raises:
        ValueError: The training split holds a set that is for evaluation only.
        jinja2.UndefinedError: A field of the card has nothing to fill it.
    """
    manifest, facts = read_manifest(folder), data_sets()
    data = training_data(columns, facts)
    wrong = evaluation_only() & {row["set"] for row in data}
    if wrong:
        raise ValueError(f"{', '.join(sorted(wrong))}: for evaluation only, but in the training split")
    text = environment().get_template("MODEL_CARD.md.j2").render(
        f=figures,
        manifest=manifest,
        table=table(figures).partition("\n\n")[2].rstrip(),
        comparison=_comparison(figures),
        weak=weak_spots(figures, facts),
        data=data,
        total={key: sum(row[key] for row in data) for key in ("speakers", "clips", "hours")},
        noises=_licences(noises),
        evaluation_only=[
            {"title": name, **facts[name]} for name in figures["sets"] if name in evaluation_only()
        ],
        speed=f"```\n{benchmark.read_text(encoding='utf-8').strip()}\n```" if benchmark else "",
    )  # fmt: skip
    path = folder / "MODEL_CARD.md"
    path.write_text(text, encoding="utf-8")
    return path


def training_data(columns: Columns, facts: Mapping[str, Mapping[str, str]]) -> list[Row]:
    """The training split: set, title, licence, what, notice, speakers, clips, hours; most hours first."""
    by_set: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for row in columns.values():
        if row.get("split") == "train":
            by_set[row.get("set") or "all"].append(row)
    rows: list[Row] = [
        {
            "set": name,
            "title": facts.get(name, {}).get("title", name),
            "what": facts.get(name, {}).get("what", "not described"),
            "notice": facts.get(name, {}).get("notice", ""),
            "licence": ", ".join(sorted({row.get("licence") or "not stated" for row in found})),
            "speakers": len({row["speaker_id"] for row in found}),
            "clips": len(found),
            "hours": sum(float(row.get("seconds") or 0.0) for row in found) / 3600,
        }
        for name, found in by_set.items()
    ]
    return sorted(rows, key=lambda row: -row["hours"])


def weak_spots(figures: Mapping[str, Any], facts: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Where the model fails more often than the mean says, one line each, from the figures if they know."""
    conditions, groups = figures["conditions"], figures["groups"]
    codecs = conditions.get("codec", [])
    return [
        _worst_sets(figures["sets"], facts),
        _changed("Short recordings", "with {} of speech", conditions.get("speech", [])[:1]),
        _changed("Telephone", "through {}", _worst(codecs, telephone=True)),
        _changed("Codecs", "through {}", _worst(codecs, telephone=False)),
        _changed("Noise", "at {} of signal to noise", conditions.get("noise", [])[-1:]),
        _group("Another line or device", groups.get("channel", []), "another channel"),
        _group("Emotion", groups.get("emotion", []), "another emotion"),
        _spread("Gender", groups.get("gender", [])),
        _spread("Language", groups.get("language", [])),
        "**Children, the old, close relatives.** Not measured apart: no manifest told their age or kin.",
        "**Replay, synthesis, conversion.** It was never trained to notice them and cannot.",
    ]


def _worst_sets(sets: Mapping[str, Row], facts: Mapping[str, Mapping[str, str]]) -> str:
    worst = sorted(sets, key=lambda name: -sets[name]["eer"])[:3]
    words = [
        f"`{name}` {percent(sets[name]['eer'])} %"
        + (f" ({facts[name].get('weakness') or facts[name]['what']})" if name in facts else "")
        for name in worst
    ]
    return f"**The worst sets.** EER of single recordings: {'; '.join(words)}."


def _worst(rows: Sequence[Row], *, telephone: bool) -> list[Row]:
    """The worst condition of those with a telephone's sampling rate, or of the others; none without any."""
    return sorted((row for row in rows if row["name"].startswith("8 kHz") == telephone), key=_eer)[-1:]


def _changed(title: str, words: str, rows: Sequence[Row]) -> str:
    if not rows:
        return f"**{title}.** This {_NOT_MEASURED}"
    row = rows[0]
    where = words.format(row["name"])
    line = (
        f"**{title}.** EER {percent(row['eer'])} % ({interval(row['eer_interval'])}) {where}, "
        f"{percent(row['reference']['eer'])} % for the same trials untouched"
    )
    if row["enrolled"] and row["reference"]["enrolled"]:
        line += (
            f"; against enrollments {percent(row['enrolled']['eer'])} % "
            f"and {percent(row['reference']['enrolled']['eer'])} %"
        )
    if row["refused"] > 0:
        line += f". In {percent(row['refused'], 1)} % of such recordings no speech is found; they are refused"
    return f"{line}."


def _group(title: str, rows: Sequence[Row], name: str) -> str:
    row = next((row for row in rows if row["name"] == name), None)
    if row is None:
        return f"**{title}.** This {_NOT_MEASURED}"
    return (
        f"**{title}.** EER {percent(row['eer'])} % where the two recordings differ in it, "
        f"{percent(row['reference']['eer'])} % over all trials of the same sets "
        f"({', '.join(row['set_names'])})."
    )


def _spread(title: str, rows: Sequence[Row]) -> str:
    if len(rows) < 2:
        return f"**{title}.** Differences between groups were not measured."
    worst, best = max(rows, key=_eer), min(rows, key=_eer)
    count = f"Of {len(rows)} groups with trials enough, EER" if len(rows) > 2 else "EER"
    return (
        f"**{title}.** {count} {percent(worst['eer'])} % ({interval(worst['eer_interval'])}) for "
        f"{worst['name']}, {percent(best['eer'])} % ({interval(best['eer_interval'])}) for {best['name']}, "
        "both recordings of one group; each in the sets that have it."
    )


def _eer(row: Row) -> float:
    return float(row["eer"])


def _comparison(figures: Mapping[str, Any]) -> list[str]:
    other = figures.get("compare")
    if not other:
        return []
    rows = other["sets"].values()
    most = max(abs(row["other_eer"] - row["eer"]) for row in rows)
    least = min(row["cosine"] for row in rows)
    line = (
        f"The {other['precision']} file on the same trials: no set's EER more than {percent(most)} points "
        f"from {figures['model']['precision']}, mean cosine of the two embeddings {least:.4f} or more in "
        "every set."
    )
    return ["", line]


def _licences(noises: Path | None) -> str:
    """The licences of a manifest of noises with how many files have them; empty without one."""
    if noises is None:
        return ""
    counts: dict[str, int] = defaultdict(int)
    with noises.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            counts[row.get("licence") or "licence not stated"] += 1
    return ", ".join(f"{count} files {licence}" for licence, count in sorted(counts.items()))
