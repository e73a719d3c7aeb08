"""Figures → table.md and one HTML file that needs nothing beside itself."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from training.figures import LEAST_IMPOSTORS, LEAST_TARGETS, Row

TEMPLATES: Final = Path(__file__).parent / "templates"
_PICTURES: Final = ("det.png", "scores.png", "conditions.png", "reliability.png", "map.png")


_COLUMNS: Final = (
    "set", "trials: same, other", "EER", "95 %", "minDCF", "FNMR at FMR 1", "at 0.1", "EER, enrolled",
    "actDCF", "Cllr", "MFCC EER",
)  # fmt: skip


def environment() -> Environment:
    """The templates, with the filters that show figures; a field that nothing fills is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=False,
    )
    made.filters |= {
        "percent": percent,
        "interval": interval,
        "number": number,
        "thousands": "{:,}".format,
        "at_most": min_of,
    }
    return made


def percent(rate: float | None, digits: int = 2, none: str = "–") -> str:
    """A rate in percent, without the sign."""
    return none if rate is None else f"{100 * rate:.{digits}f}"


def interval(bounds: tuple[float, float] | None, scale: float = 100.0) -> str:
    """Both ends of an interval, in percent or, with scale 1, as they are."""
    if not bounds:
        return "–"
    digits = 1 if scale == 100.0 else 3
    return f"{scale * bounds[0]:.{digits}f}–{scale * bounds[1]:.{digits}f}"


def number(value: float | None) -> str:
    """A cost with three decimals."""
    return "–" if value is None else f"{value:.3f}"


def min_of(value: float, most: float) -> float:
    """The value, or `most` where it is more."""
    return min(value, most)


def table(figures: Mapping[str, Any]) -> str:
    """The figures by set as a Markdown table."""
    model, speech = figures["model"], f"{figures['enroll_speech_s']:g} s of speech"
    lines = [
        f"Model `{model['id']}` ({model['precision']}). Cosine of single recordings; *enrolled*: of a",
        f"recording and a centroid of {speech} or more. Rates in %, 95 % intervals by speaker; DCF",
        "normalised, p_target 0.01, both costs 1; Cllr in bits. –: the trials do not support it.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|---" * len(_COLUMNS) + "|",
    ]
    for name, row in rows_by_set(figures).items():
        enrolled: Row = row["enrolled"] or {}
        cells = [
            f"**{name}**" if name == "mean" else name,
            f"{row['target_trials']:,}, {row['impostor_trials']:,}",
            percent(row["eer"]),
            interval(row.get("eer_interval")),
            number(row["min_dcf"]),
            percent(row["fnmr_at_fmr_1"], 1),
            percent(row["fnmr_at_fmr_0_1"], 1),
            percent(enrolled.get("eer")),
            number(enrolled.get("act_dcf")),
            number(enrolled.get("cllr")),
            percent(row["baseline"]["eer"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def rows_by_set(figures: Mapping[str, Any]) -> dict[str, Row]:
    """The rows of all sets, and last their mean."""
    return {**figures["sets"], "mean": figures["mean"]}


def write_report(figures: Mapping[str, Any], folder: Path, evaluation_only: set[str]) -> Path:
    """Writes report.html with the pictures that are in its folder.

    Args:
        figures: The content of figures.json.
        folder: Where the pictures are and the report goes.
        evaluation_only: Sets that nothing may be trained on, to be marked.
    """
    pictures = {name: _data_uri(folder / name) for name in _PICTURES if (folder / name).exists()}
    page = environment().get_template("report.html.j2").render(
        f=figures,
        rows=rows_by_set(figures),
        pictures=pictures,
        evaluation_only=evaluation_only & set(figures["sets"]),
        least_targets=LEAST_TARGETS,
        least_impostors=LEAST_IMPOSTORS,
    )  # fmt: skip
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _data_uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
