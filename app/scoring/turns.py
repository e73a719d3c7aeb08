"""Embeddings of windows → voices → turns: how many speak in a recording, and which of them when.

Three steps. Ward's clustering splits what must not be one voice: it weighs a difference by how much speech
stands behind it. Then clusters are joined while the mean cosine between their windows is that of one voice:
a mean does not grow with the length of the recording, so an hour is not split where a minute is not. At last
the most likely sequence of voices is found where a change costs something, since nobody speaks for half a
second between two words of another. Voices that speak at the same time are not separated: the louder has it.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from app.arrays import Embeddings
from app.scoring.calibration import Calibration

WINDOW_S: Final = 1.5
"""Speech in a window, in seconds: shorter ones know the voice worse, longer ones blur the changes."""
HOP_S: Final = 0.75
_FMR: Final = 0.1
"""A pair of windows that this share of impostors reaches is a place on the scale of any model's cosines."""
_JOIN: Final = 0.9
_SPLIT: Final = 3.25
_APART: Final = 2.18
"""Of these three, the first two have least errors on half of the synthetic meetings of docs/segments.md, the
third is passed by 1 % of recordings of one voice."""
_GROWTH: Final = 0.3
_OF_WINDOWS: Final = 6
"""The difference between the halves of one voice's recording grows with its windows to this power."""
_BLOCK: Final = 1000
"""Windows that are clustered at once, about 12 min of speech: Ward's way takes memory with their square."""

Labels: TypeAlias = npt.NDArray[np.int64]
"""Numbers of voices, from 0 in the order in which they are first heard."""
Floats: TypeAlias = npt.NDArray[np.float64]


class Turn(NamedTuple):
    """A stretch of one voice.

    Attributes:
        start_s: Its beginning in the recording, in seconds.
        end_s: Its end.
        voice: Number of the voice.
        cells: First cell of it and the one after the last.
    """

    start_s: float
    end_s: float
    voice: int
    cells: tuple[int, int]


@dataclass(frozen=True)
class TurnRules:
    """When windows are of one voice.

    Attributes:
        split: Ward distance above which two groups of windows are never one voice.
        join: Least mean cosine between the windows of two groups that are one voice.
        apart: Difference of the halves from which a short recording has several voices; see several_voices.
        change_s: What a change of voice costs: cosine times seconds of speech.
    """

    split: float
    join: float
    apart: float
    change_s: float = 0.25


def rules_of(calibration: Calibration) -> TurnRules:
    """The rules for a model, whatever the scale of its cosines.

    Args:
        calibration: Of the model; its operating points say what cosine of two windows is a high one.

    Raises:
        ValidationFailed: Its trials support no false-match rate of 10 %.
    """
    at_0, at_1 = calibration.score.llr([0.0, 1.0], WINDOW_S, WINDOW_S)
    join = _JOIN * float((calibration.at_fmr(_FMR).threshold - at_0) / (at_1 - at_0))
    # Windows of one voice scatter by 1 - cosine around their mean, so Ward's distances scale with its root.
    scatter = float(np.sqrt(max(1.0 - join, 0.0)))
    return TurnRules(split=_SPLIT * scatter, join=join, apart=_APART * scatter)


def voices_of(
    embeddings: Embeddings, seconds: Floats, rules: TurnRules, max_voices: int | None = None
) -> Labels:
    """Tell the voices in a recording apart.

    Args:
        embeddings: float32 (windows, dim), unit length, in the order of time, at least one.
        seconds: float64 (windows,), the speech for which each window stands, above 0.
        rules: When windows are of one voice.
        max_voices: Most voices; None when nobody knows.

    Returns:
        int64 (windows,): the number of the voice of each window.
    """
    labels = _joined(embeddings, _split(embeddings, rules.split), rules.join, max_voices)
    return _numbered(_smoothed(embeddings, seconds, labels, rules.change_s))


def several_voices(embeddings: Embeddings, rules: TurnRules) -> tuple[bool, float]:
    """Tell whether a recording of some seconds holds more than one voice.

    Its windows are split into the two halves that differ most. One voice differs from itself too, and more
    so the longer it speaks, so the difference is measured by what that many windows of one voice have.

    Args:
        embeddings: float32 (windows, dim), unit length, of windows of WINDOW_S, two at least.
        rules: When windows are of one voice.

    Returns:
        Whether there are several, and the difference, which is `rules.apart` or more if there are.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    tree = linkage(embeddings, method="ward")
    first = fcluster(tree, 2, "maxclust") == 1
    difference = float(tree[-1, 2]) / (len(embeddings) / _OF_WINDOWS) ** _GROWTH
    cosine = embeddings[first].mean(axis=0) @ embeddings[~first].mean(axis=0)
    return bool(difference >= rules.apart and cosine < rules.join), difference


def turns_of(cells: Floats, labels: Labels, longest_pause_s: float = 0.5) -> list[Turn]:
    """Join neighbouring cells of one voice to turns.

    Args:
        cells: float64 (windows, 2): beginning and end of each in the recording, in seconds, rising.
        labels: int64 (windows,): whose they are.
        longest_pause_s: A longer pause ends a turn even when the same voice goes on, in seconds.
    """
    turns: list[Turn] = []
    for place, ((start_s, end_s), voice) in enumerate(zip(cells.tolist(), labels.tolist(), strict=True)):
        last = turns[-1] if turns else None
        if last and last.voice == voice and start_s - last.end_s <= longest_pause_s:
            turns[-1] = last._replace(end_s=end_s, cells=(last.cells[0], place + 1))
        else:
            turns.append(Turn(start_s, end_s, voice, (place, place + 1)))
    return turns


def _split(embeddings: Embeddings, distance: float) -> Labels:
    """Groups of windows that are surely one voice each, block by block of the recording."""
    from scipy.cluster.hierarchy import fcluster, linkage

    labels, groups = [], 0
    for block in np.array_split(embeddings, -(-len(embeddings) // _BLOCK)):
        found = np.zeros(len(block), dtype=np.int64)
        if len(block) > 1:
            found = fcluster(linkage(block, method="ward"), distance, "distance") - 1
        labels.append(found + groups)
        groups += int(found.max()) + 1
    return np.concatenate(labels)


def _joined(embeddings: Embeddings, labels: Labels, cosine: float, most: int | None) -> Labels:
    """Average linkage of groups, every window counting alike: the nearest become one until none are near."""
    labels = labels.copy()
    sums = np.stack([embeddings[labels == group].sum(axis=0) for group in range(labels.max() + 1)])
    counts = np.bincount(labels).astype(np.float64)
    alive = list(range(len(counts)))
    while len(alive) > 1:
        means = sums[alive] / counts[alive, None]
        cosines = means @ means.T
        np.fill_diagonal(cosines, -np.inf)
        first, second = sorted(np.unravel_index(int(cosines.argmax()), cosines.shape))
        if cosines[first, second] < cosine and (most is None or len(alive) <= most):
            break
        kept, gone = alive[first], alive.pop(second)
        labels[labels == gone] = kept
        sums[kept] += sums[gone]
        counts[kept] += counts[gone]
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _smoothed(embeddings: Embeddings, seconds: Floats, labels: Labels, change: float) -> Labels:
    """The best sequence of the voices: most cosine to their mean directions, less the cost of its changes."""
    means = np.stack([seconds[labels == v] @ embeddings[labels == v] for v in range(labels.max() + 1)])
    gains = embeddings @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T * seconds[:, None]
    best, came_from = gains[0], []
    for gain in gains[1:]:
        changed = best.max() - change
        came_from.append(np.where(best >= changed, np.arange(len(best)), best.argmax()))
        best = np.maximum(best, changed) + gain
    path = [int(best.argmax())]
    for sources in reversed(came_from):
        path.append(int(sources[path[-1]]))
    return np.asarray(path[::-1], dtype=np.int64)


def _numbered(labels: Labels) -> Labels:
    _, firsts, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(firsts))[inverse].astype(np.int64)
