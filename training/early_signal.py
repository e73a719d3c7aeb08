"""Early signal: how a network that is still learning does on speakers that it does not learn."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from app.arrays import SAMPLE_RATE_HZ
from app.scoring.rates import equal_error_rate
from training.corpus import Corpus
from training.metrics import Trials

_BATCH = 64


class EarlySignal(keras.callbacks.Callback):
    """Adds an EER (mean over sets, in %) to the logs each few epochs.

    Recordings are cut or repeated to one length, so that they go through the network in batches:
    quick, and close to, but not the same as, the figures of `training.evaluate`.

    Args:
        name: Of the figure in the logs.
        branch: The embedding network.
        corpus: Recordings of speakers that are not trained on.
        lists: Trial lists by set; trials of recordings that the corpus lacks are left out.
        every: Epochs between two measurements.
    """

    def __init__(
        self,
        name: str,
        branch: keras.Model,
        corpus: Corpus,
        lists: Mapping[str, Trials],
        every: int,
        seconds: float = 3.0,
    ) -> None:
        super().__init__()
        self.name, self.branch, self.every = name, branch, every
        place = {name: i for i, name in enumerate(corpus.utterance_ids)}
        self.pairs: dict[str, tuple[Any, Any, Any]] = {}
        used: dict[int, int] = {}
        for name, trials in lists.items():
            rows = [
                (used.setdefault(place[a], len(used)), used.setdefault(place[b], len(used)), label)
                for a, b, label in zip(trials.enroll, trials.test, trials.labels, strict=True)
                if a in place and b in place
            ]
            if rows:
                left, right, labels = np.array(rows).T
                self.pairs[name] = (left, right, labels)
        length = int(seconds * SAMPLE_RATE_HZ)
        # Whole batches, some clips twice, so that several devices can share each.
        order = np.resize(list(used), math.ceil(len(used) / _BATCH) * _BATCH)
        self.clips = np.stack([np.resize(corpus.waveform(i)[:length], length) for i in order])

    def measure(self) -> dict[str, float]:
        """EER of each set, in %."""
        embeddings = self.branch.predict(self.clips, batch_size=_BATCH, verbose=0)
        return {
            name: 100 * equal_error_rate(np.sum(embeddings[left] * embeddings[right], axis=1), labels)
            for name, (left, right, labels) in self.pairs.items()
        }

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        last = epoch + 1 == self.params["epochs"]
        if logs is None or not ((epoch + 1) % self.every == 0 or last):
            return
        rates = self.measure()
        logs[self.name] = float(np.mean(list(rates.values())))
        print(f"\n  {self.name}, %: " + "  ".join(f"{name} {rate:.1f}" for name, rate in rates.items()))
