"""Figures of the comparison of methods → Markdown tables, and the page that shows them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from training.figures import Row
from training.report import number, percent

BEGIN: Final = "<!-- figures -->"
END: Final = "<!-- /figures -->"
"""Markers on a page; what stands between them is written by the program."""
_COLUMNS: Final = (
    "method", "labels", "parameters", "minutes", "EER", "minDCF", "untrained: EER", "linear: EER",
    "speakers named", "fine-tuned: EER", "minDCF", "distance: same", "different", "d′",
)  # fmt: skip


def title(row: Row) -> str:
    """Name of a row, with its methods where the name does not say them."""
    methods = " → ".join(name.replace("_", "-") for name in row["methods"])
    return row["name"] if methods in ("", row["name"]) else f"{row['name']} ({methods})"


def tables(figures: Mapping[str, Any]) -> str:
    """The comparison as a Markdown table, and a second one of the frozen networks by set."""
    probe, trials, rows = figures["probe"], figures["trials"], figures["methods"]
    names = sorted(rows[0]["frozen"]["sets"])
    lines = [
        f"{trials['target']:,} target and {trials['impostor']:,} impostor trials of {trials['recordings']:,}",
        f"recordings in {len(names)} sets, every set counting alike. EER and *speakers named* in %; minDCF",
        "normalised, p_target 0.01, both costs 1; *labels*: what the method was told; *untrained*: the same",
        "network before it learnt anything; *linear*:",
        f"discriminants of {probe['speakers']:,} training speakers from {probe['fitted']:,} recordings, and",
        f"*speakers named* among them in {probe['held_out']:,} others (chance {percent(probe['chance'])});",
        "*distance*: Euclidean, of unit-length embeddings, of the trials of one speaker and of two, with",
        "their separation d′.",
        "",
        *_table(_COLUMNS, [_cells(row) for row in rows]),
        "",
        "The frozen networks by set, EER in % and minDCF:",
        "",
        *_table(("method", *names), [[title(row), *_by_set(row, names)] for row in rows]),
    ]
    return "\n".join(lines) + "\n"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
        *(f"| {' | '.join(cells)} |" for cells in rows),
    ]


def _cells(row: Row) -> list[str]:
    frozen, linear, apart = (row[key] for key in ("frozen", "linear", "distances"))
    untrained, tuned = (row[key] or {} for key in ("untrained", "fine_tuned"))
    parameters, minutes = row["parameters"], row["minutes"]
    return [
        title(row),
        row["labels"] or "–",
        "–" if parameters is None else f"{parameters:,}",
        "–" if minutes is None else f"{minutes:.1f}",
        percent(frozen["eer"]),
        number(frozen["min_dcf"]),
        percent(untrained.get("eer")),
        percent(linear["eer"]),
        percent(linear["accuracy"], 1),
        percent(tuned.get("eer")),
        number(tuned.get("min_dcf")),
        f"{apart['same']:.2f}",
        f"{apart['different']:.2f}",
        f"{apart['separation']:.2f}",
    ]


def _by_set(row: Row, names: Sequence[str]) -> list[str]:
    sets = row["frozen"]["sets"]
    return [f"{percent(sets[name]['eer'], 1)}, {sets[name]['min_dcf']:.2f}" for name in names]


def shown_on(page: Path) -> str:
    """What stands between the markers of a page.

    Raises:
        ValueError: It lacks a marker.
    """
    return _parts(page)[1]


def fill_page(page: Path, text: str) -> None:
    """Puts text between the markers of a page.

    Raises:
        ValueError: It lacks a marker.
    """
    before, _, after = _parts(page)
    page.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


def _parts(page: Path) -> tuple[str, str, str]:
    before, begun, rest = page.read_text(encoding="utf-8").partition(f"{BEGIN}\n")
    inside, ended, after = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"{page} lacks the lines {BEGIN} and {END}")
    return before, inside, after
