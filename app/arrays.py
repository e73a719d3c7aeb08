"""The two arrays that pass between Timbre's rooms, named once."""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ: Final = 16_000
"""The one sample rate behind the decoder, in hertz."""

Waveform: TypeAlias = npt.NDArray[np.float32]
"""float32, shape (samples,), 16 kHz mono, range [-1, 1]."""

Embedding: TypeAlias = npt.NDArray[np.float32]
"""float32, shape (dim,), unit Euclidean length."""

Embeddings: TypeAlias = npt.NDArray[np.float32]
"""float32, shape (count, dim), each row an Embedding."""
