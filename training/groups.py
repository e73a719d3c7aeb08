"""Trials by what the manifest says of their recordings: gender, language, session, channel, emotion."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from training.scored import Measured

Columns: TypeAlias = Mapping[str, Mapping[str, str]]
"""The manifest's columns by utterance id."""

_WORDS = {"m": "men", "f": "women", "male": "men", "female": "women"}


def read_columns(corpus: Path) -> Columns:
    """Every column of a manifest by utterance id; nothing for a folder of recordings."""
    if not corpus.is_file():
        return {}
    with corpus.open(newline="", encoding="utf-8") as file:
        return {row["utterance_id"]: row for row in csv.DictReader(file)}


def groups(measured: Mapping[str, Measured], columns: Columns) -> dict[str, dict[str, dict[str, Measured]]]:
    """Trials by column, then by group, then by set; columns that the manifest lacks are left out.

    `gender` and `language` hold trials of two recordings of the same value. `session`, `channel` and
    `emotion` ask whether the two recordings share theirs: target trials inside and across are taken apart,
    impostor trials stay whole, since different speakers have no session in common anyway.
    """
    found: dict[str, dict[str, dict[str, Measured]]] = {}
    for column in ("gender", "language", "session", "channel", "emotion"):
        by_group: dict[str, dict[str, Measured]] = {}
        for home, m in measured.items():
            enroll, test = _values(m.enroll, columns, column), _values(m.test, columns, column)
            known = (enroll != "") & (test != "")
            for group, mask in _masks(column, enroll, test, m.labels == 0).items():
                chosen = m.chosen(known & mask)
                if chosen.has_both_kinds:
                    by_group.setdefault(group, {})[home] = chosen
        # A column in which nothing differs tells nothing.
        if len(by_group) > 1:
            found[column] = dict(sorted(by_group.items()))
    return found


def _values(names: npt.NDArray[np.str_], columns: Columns, column: str) -> npt.NDArray[np.str_]:
    return np.array([columns.get(name, {}).get(column) or "" for name in names], np.str_)


def _masks(
    column: str,
    enroll: npt.NDArray[np.str_],
    test: npt.NDArray[np.str_],
    impostor: npt.NDArray[np.bool_],
) -> dict[str, npt.NDArray[np.bool_]]:
    same = enroll == test
    if column in ("gender", "language"):
        return {
            _WORDS.get(value, value): same & (enroll == value)
            for value in np.unique(enroll[same]).tolist()
            if value
        }
    return {f"the same {column}": same | impostor, f"another {column}": ~same | impostor}
