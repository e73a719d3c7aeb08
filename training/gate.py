"""A candidate's figures beside those of an earlier model: may it take that model's place?"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 2
"""The version of figures.json that is written and read."""

Figures = Mapping[str, Any]
"""The content of a figures.json."""


@dataclass(frozen=True)
class Tolerances:
    """How much worse a candidate may be; rates in [0, 1].

    The trials are the same, so chance enters only by training: the eight-bit file of a model, which is the
    same model with other rounding, moves the means by 0.0001 and 0.001 and one set by up to 0.002. The means
    may lose about ten times that; a single set may move more, since many small sets are looked at and the
    worst of many differences is large without meaning anything.

    Attributes:
        eer: Of the mean EER over sets.
        min_dcf: Of the mean minDCF over sets.
        set_eer: Of the EER of one set; at least what one target trial is worth there.
    """

    eer: float = 0.001
    min_dcf: float = 0.005
    set_eer: float = 0.01


def read_figures(path: Path) -> Figures:
    """Reads a figures.json.

    Raises:
        ValueError: It is no such file, or one of another format.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ValueError(f"{path} cannot be read as figures: {problem}") from problem
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"{path} does not hold figures of format {FORMAT}: measure that model again")
    return found


def worse(candidate: Figures, shipped: Figures, tolerances: Tolerances | None = None) -> list[str]:
    """What a candidate does worse than a shipped model, beyond the tolerances.

    Args:
        candidate: Figures of the candidate.
        shipped: Figures of the model that it would replace.
        tolerances: What is still as good.

    Returns:
        One line for each thing that is worse; empty when the candidate may ship.

    Raises:
        ValueError: The figures come from other trials, so that they cannot be compared.
    """
    if candidate["trials"]["sha256"] != shipped["trials"]["sha256"]:
        raise ValueError("the two were measured on different trials and cannot be compared")
    allowed = tolerances or Tolerances()
    lines = []
    for key, name, slack in (("eer", "EER", allowed.eer), ("min_dcf", "minDCF", allowed.min_dcf)):
        now, before = candidate["mean"][key], shipped["mean"][key]
        if now > before + slack:
            lines.append(f"mean {name}: {_shown(key, now)}, was {_shown(key, before)}")
    for name, row in candidate["sets"].items():
        before = shipped["sets"][name]["eer"]
        slack = max(allowed.set_eer, 1 / row["target_trials"])
        if row["eer"] > before + slack:
            lines.append(f"EER of {name}: {_shown('eer', row['eer'])}, was {_shown('eer', before)}")
    return lines


def _shown(key: str, value: float) -> str:
    return f"{100 * value:.2f} %" if key == "eer" else f"{value:.3f}"
