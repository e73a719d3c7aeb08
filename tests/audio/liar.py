"""A decoder that a recording has taken over: it answers what it likes."""

import json
import pickle
import struct
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np

from app.audio import Utterance, decoder, prepare
from app.audio.confine import call_filter
from app.audio.wire import Line
from tests.speech import clip


class _Evil:
    def __reduce__(self) -> Any:
        return exec, ("import os; os.environ['TIMBRE_OWNED'] = '1'",)


@cache
def honest() -> Utterance:
    """What it would say if it were sound."""
    return prepare(clip("ada"), max_duration_s=20.0)


def _said(**changes: Any) -> tuple[bytes, bytes]:
    told = honest()
    header = {
        "report": asdict(told.report),
        "sha256": told.sha256,
        "pieces": told.pieces,
        "rows": [len(told.waveform), len(told.fingerprint)],
        **changes,
    }
    return json.dumps(header).encode(), told.waveform.tobytes() + told.fingerprint.tobytes()


def _with_nan() -> tuple[bytes, bytes]:
    header, arrays = _said()
    return header, np.float32("nan").tobytes() + arrays[4:]


LIES: dict[str, Callable[[], tuple[bytes, ...]]] = {
    "a pickle": lambda: (pickle.dumps(_Evil()), b""),
    "no JSON": lambda: (b"\xff\xfe", b""),
    "a list": lambda: (b"[]", b""),
    "nesting without end": lambda: (b"[" * 100_000, b""),
    "nothing": lambda: (b"{}", b""),
    "a refusal that is none": lambda: (b'{"refusal": "KeyError", "facts": {}}', b""),
    "a refusal without its facts": lambda: (b'{"refusal": "AudioTooLong", "facts": {}}', b""),
    "a refusal with infinity": lambda: (b'{"refusal": "AudioTooLong", "facts": {"limit_s": 1e999}}', b""),
    "NaN in the report": lambda: (_said(report=asdict(honest().report) | {"snr_db": float("nan")})[0], b""),
    "a report of words": lambda: _said(report=asdict(honest().report) | {"duration_s": "long"}),
    "a report of nothing": lambda: _said(report={}),
    "other pieces": lambda: _said(pieces=[[0, 10]]),
    "pieces backwards": lambda: _said(pieces=[[len(honest().waveform), 0]]),
    "more samples than there are": lambda: _said(rows=[10_000_000, 0]),
    "samples of another kind": lambda: _said(rows=["many", 0]),
    "samples that are no numbers": _with_nan,
}


def _answer(line: Line, data: bytes) -> None:
    order = data.removeprefix(b"fLaC").decode()
    if order == "an endless frame":
        line._socket.sendall(struct.pack(">I", 0xFFFFFFFF))
    elif order == "half a frame":
        line._socket.sendall(struct.pack(">I", 1000) + b"{")
        while time.monotonic():  # it may not even sleep
            pass
    else:
        for frame in LIES[order]():
            line.send(frame)


def main(control: int) -> None:
    """Confined like every other."""
    decoder._warm_up = call_filter
    honest()
    decoder.send_answer = _answer  # type: ignore[assignment,attr-defined]
    decoder.main(control, lambda data, _: data)  # type: ignore[arg-type,return-value]
