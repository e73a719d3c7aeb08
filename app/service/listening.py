"""Bytes of one upload → an utterance that passed the limits, and its embedding."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app.arrays import Embedding
from app.audio import Utterance
from app.audio.quality import refuse
from app.errors import TimbreError
from app.failpoints import reach
from app.service.call import Call
from app.service.trace import current, stage


@dataclass(frozen=True)
class Heard:
    """One recording, usable."""

    utterance: Utterance
    embedding: Embedding


def hear(call: Call, data: bytes, *, long: bool = False) -> Utterance:
    """Decode and measure one recording, whatever its quality.

    Args:
        call: Who asks, and what serves them.
        data: The upload, container and all.
        long: It may last for hours.

    Returns:
        The speech of the recording and its report.

    Raises:
        AudioRefused: It cannot be decoded, or is too long.
    """
    with stage("decode"):
        utterance = (call.parts.long_decoders if long else call.decoders).prepare(data)
    current().audio_s += utterance.report.duration_s
    return utterance


def listen(call: Call, data: bytes) -> Heard:
    """Decode, judge and embed one recording.

    Args:
        call: Who asks, and what serves them.
        data: The upload, container and all.

    Returns:
        The utterance and its embedding, float32 of shape (dim,), unit length.

    Raises:
        AudioRefused: It cannot be decoded or does not reach the limits.
        Overloaded: Too many recordings wait for the model.
        InferenceTimeout: The model did not answer in time.
    """
    utterance = hear(call, data)
    reach("enroll.decoded")
    refuse(utterance.report, call.limits)
    with stage("embed"):
        embedding = call.embedder.embed(utterance.waveform, before=current().go_on)
    return Heard(utterance, embedding)


@contextmanager
def placed(**where: Any) -> Iterator[None]:
    """Say of a refusal in the block which part of the request it is about."""
    try:
        yield
    except TimbreError as error:
        error.where = where
        raise
