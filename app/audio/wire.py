"""What the server and its decoder processes say to each other, over sockets that only they have.

An order goes to the process in which decoders are born, with a descriptor beside it. With a decoder the
server speaks in frames: the length in four bytes and so many bytes behind. A recording is one frame, an
answer is two: JSON, then arrays as they lie in memory. The server reads an answer with suspicion, since a
process that took in a stranger's bytes may have been taken over: everything is bounded and checked, and
nothing is a pickle, which could run code in the server.
"""

import json
import math
import socket
import struct
import time
from dataclasses import asdict, fields
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from app.arrays import SAMPLE_RATE_HZ
from app.audio import AudioReport, Utterance
from app.audio.fingerprint import ROW
from app.errors import AudioRefused

Answer: TypeAlias = Utterance | AudioRefused | str
"""The utterance, the reason why there is none, or the traceback of a fault of ours."""

_LENGTH: Final = struct.Struct(">I")
_HEADER_BYTES: Final = 2 << 20
"""Most JSON of an answer: the pieces of two hours of speech are some 0.3 MB."""
_TRACEBACK_CHARACTERS: Final = 20_000
_REPORT: Final = TypeAdapter(AudioReport)
_PIECES: Final = TypeAdapter(tuple[tuple[int, int], ...])
_ARRAYS: Final = {"waveform": ("<f4", 1), "fingerprint": ("u1", ROW)}
"""The arrays of an utterance: how their numbers are written, and how many make a row."""
_ARRAY_BYTES_A_SECOND: Final = 4 * SAMPLE_RATE_HZ + 8 * 100
"""The waveform and at most a hundred rows of the fingerprint."""
_ARRAY_SLACK_BYTES: Final = 1 << 16
"""What resampling may add at the end."""
_REFUSALS: Final[dict[str, Any]] = {leaf.__name__: leaf for leaf in AudioRefused.__subclasses__()}
_ORDER: Final = struct.Struct(">4sIdd")
ORDER_BYTES: Final = _ORDER.size


class Order(NamedTuple):
    """What the server wants; a descriptor comes along with the first two.

    Attributes:
        kind: `work` makes a decoder, `tend` another process like this one, `kill` ends a decoder.
        pid: the decoder to end.
        timeout_s: time on the processor that a decoder has for a recording, in seconds.
        max_duration_s: longest recording, in seconds.
    """

    kind: str
    pid: int = 0
    timeout_s: float = 0.0
    max_duration_s: float = 0.0

    def packed(self) -> bytes:
        """The order as it is sent, always ORDER_BYTES."""
        return _ORDER.pack(self.kind.encode(), self.pid, self.timeout_s, self.max_duration_s)

    @classmethod
    def unpacked(cls, message: bytes) -> "Order":
        """The order that was packed."""
        kind, pid, timeout_s, max_duration_s = _ORDER.unpack(message)
        return cls(kind.decode(), pid, timeout_s, max_duration_s)


class Line:
    """One end of the socket; for one thread at a time."""

    def __init__(self, end: socket.socket) -> None:
        """Take over `end`."""
        self._socket = end

    def send(self, frame: bytes, deadline: float | None = None) -> None:
        """Send a frame.

        Args:
            frame: At most 4 GiB.
            deadline: Time of the monotonic clock at which to give up; None waits for ever.

        Raises:
            TimeoutError: The deadline came.
            OSError: The other end is gone.
        """
        for part in (_LENGTH.pack(len(frame)), frame):
            self._wait_until(deadline)
            self._socket.sendall(part)

    def receive(self, most: int, deadline: float | None = None) -> bytearray:
        """Receive a frame.

        Args:
            most: Its greatest length, in bytes.
            deadline: As for send().

        Raises:
            TimeoutError: The deadline came.
            EOFError, OSError: The other end is gone.
            ValueError: The frame is longer.
        """
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size, deadline))
        if length > most:
            raise ValueError(f"a frame of {length} bytes, at most {most} are read")
        return self._exactly(length, deadline)

    def _exactly(self, length: int, deadline: float | None) -> bytearray:
        data = bytearray(length)
        rest = memoryview(data)
        while rest:
            self._wait_until(deadline)
            count = self._socket.recv_into(rest)
            if not count:
                raise EOFError
            rest = rest[count:]
        return data

    def silent(self) -> bool:
        """Whether nothing has come, not even the end."""
        self._socket.settimeout(0)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close it; safe to call again."""
        self._socket.close()

    def _wait_until(self, deadline: float | None) -> None:
        """Let the next operation wait no longer than that.

        Raises:
            TimeoutError: It is over.
        """
        if deadline is None:  # a decoder's end, which it may not even set to what it is
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def send_answer(line: Line, answer: Answer) -> None:
    """Send what became of a recording."""
    header: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]] = {}
    if isinstance(answer, str):
        header = {"fault": answer[-_TRACEBACK_CHARACTERS:]}
    elif isinstance(answer, AudioRefused):
        header = {"refusal": type(answer).__name__, "facts": answer.facts}
    else:
        header = {"report": asdict(answer.report), "sha256": answer.sha256, "pieces": answer.pieces}
        arrays = {name: np.asarray(getattr(answer, name), kind) for name, (kind, _) in _ARRAYS.items()}
    header["rows"] = [len(array) for array in arrays.values()]
    line.send(json.dumps(header).encode())
    line.send(b"".join(array.tobytes() for array in arrays.values()))


def receive_answer(line: Line, max_duration_s: float, deadline: float) -> Answer:
    """Receive what became of a recording, and check it.

    Args:
        line: To a decoder process.
        max_duration_s: Longest recording that it may have read, in seconds.
        deadline: Time of the monotonic clock at which to give up.

    Raises:
        TimeoutError: The deadline came.
        EOFError, OSError: The process is gone.
        ValueError: What came is no answer.
    """
    header = line.receive(_HEADER_BYTES, deadline)
    most = math.ceil(max_duration_s * _ARRAY_BYTES_A_SECOND) + _ARRAY_SLACK_BYTES
    arrays = line.receive(most, deadline)
    try:
        return _answer(json.loads(header, parse_constant=_number, parse_float=_number), arrays)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("no answer") from error


def _answer(header: dict[str, Any], arrays: bytearray) -> Answer:
    if "fault" in header:
        return str(header["fault"])
    if "refusal" in header:
        leaf, facts = _REFUSALS[header["refusal"]], header["facts"]
        # The facts are texts and numbers, and their types make them so.
        refusal: AudioRefused = leaf(**{fact.name: _as(fact.type, facts[fact.name]) for fact in fields(leaf)})
        return refusal
    found: dict[str, npt.NDArray[Any]] = {}
    start = 0
    for (name, (kind, row)), rows in zip(_ARRAYS.items(), header["rows"], strict=True):
        flat = np.frombuffer(arrays, kind, rows * row, start)
        found[name] = flat.reshape(rows, row) if row > 1 else flat
        start += flat.nbytes
    utterance = Utterance(
        report=_REPORT.validate_python(header["report"]),
        sha256=str(header["sha256"]),
        pieces=_PIECES.validate_python(header["pieces"]),
        **found,
    )
    _check(utterance)
    return utterance


def _as(kind: Any, value: object) -> object:
    return kind(value)


def _check(utterance: Utterance) -> None:
    """See that the parts fit each other, as whoever reads an utterance relies on.

    Raises:
        ValueError: They do not.
    """
    edges = [edge for piece in utterance.pieces for edge in piece]
    joined = sum(stop - start for start, stop in utterance.pieces)
    if edges != sorted(edges) or min(edges, default=0) < 0 or joined != len(utterance.waveform):
        raise ValueError("the pieces are not those of the waveform")
    if not np.isfinite(utterance.waveform).all():
        raise ValueError("samples are not finite")


def _number(text: str) -> float:
    """A finite number.

    Raises:
        ValueError: It is another one.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value
