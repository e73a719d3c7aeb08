"""The windows of one recording, embedded one after the other without getting in anybody's way."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.arrays import Embedding, Embeddings
from app.audio import Utterance
from app.audio.windows import Pieces, windows
from app.scoring.turns import HOP_S, WINDOW_S
from app.service.call import Call
from app.service.trace import current, stage


@dataclass(frozen=True)
class Windowed:
    """The speech of a recording, window by window.

    Attributes:
        embeddings: float32 (windows, dim), unit length.
        cells: float64 (windows, 2): beginning and end in the recording of what each stands for, in seconds.
    """

    embeddings: Embeddings
    cells: npt.NDArray[np.float64]

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """float64 (windows,): the speech for which each window stands, in seconds."""
        return np.asarray(self.cells[:, 1] - self.cells[:, 0])


def embed_windows(call: Call, utterance: Utterance, pieces: Pieces | None = None) -> Windowed:
    """Embed the windows of a recording.

    One window at a time takes a place before the model, a few milliseconds each, so that the others' are
    served in between however long the recording. It waits for a place each time, since an hour's work is not
    thrown away for a moment's crowd, and ends when nobody waits for it any more.

    Args:
        call: Who asks, and what serves them.
        utterance: The speech.
        pieces: Stretches that windows keep to, in the place of the utterance's own.

    Raises:
        Abandoned: Whoever asked has left.
        Overloaded: There is no place for a window in all the time that the model may take.
        InferenceTimeout: The model did not answer in time.
    """
    cut = windows(pieces or utterance.pieces, WINDOW_S, HOP_S)
    found: list[Embedding] = []
    with stage("embed"):
        for start, stop in cut.cuts.tolist():
            window, patience_s = utterance.waveform[start:stop], call.settings.inference_timeout_s
            found.append(call.embedder.embed(window, patience_s, before=current().go_on))
    return Windowed(np.stack(found), cut.cells)
