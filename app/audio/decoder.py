"""The process in which decoders are born, and the decoders themselves; `app.audio.nursery` starts it.

The first process imports the codecs, runs them once, and then forks: a decoder is there in milliseconds,
with everything warm. It reads no recording itself, has one thread, and holds nothing of the server: no
descriptor but one end of a socket, no memory, no secret of its environment. It ends when the server's end
closes, and the decoders with it.
"""

import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import pkgutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import av
import numpy as np
import soundfile

from app.audio import prepare
from app.audio.confine import allow_cpu, call_filter, confine
from app.audio.decode import decode
from app.audio.wire import ORDER_BYTES, Answer, Line, Order, send_answer
from app.errors import AudioRefused

_OWN: Final = 3
"""Descriptor of the one socket of a decoder, behind three that lead nowhere."""
_HEADROOM_BYTES: Final = 768 << 20
"""Address space for the codecs and for an upload, beyond what the samples of a recording take."""
_BYTES_A_SECOND: Final = 16_000 * 4 * 4
"""Address space for a second of a recording: at 16 kHz, while it is joined, measured, cut and sent."""
_LONGEST_FRAME: Final = (1 << 32) - 1
_PR_SET_PDEATHSIG: Final = 1

Work: TypeAlias = Callable[[bytes, float], Answer]
"""From an upload and the longest duration of a recording, in seconds, to the answer."""


def main(control: int, work: Work | None = None) -> None:
    """Warm up, then carry out orders until the server goes away.

    Args:
        control: Descriptor of the socket that the orders come from.
        work: What a decoder does with a recording; decoding it when nothing is given.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the group; the server decides
    _name("timbre-decoders")
    _warm_up()
    _silence()
    gc.freeze()  # so that collecting does not write into the pages that all decoders share
    _tend(socket.socket(fileno=control), work or _decoded)


def _tend(control: socket.socket, work: Work) -> None:
    decoders: set[int] = set()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, ORDER_BYTES, 1)
        _reap(decoders)
        if len(message) < ORDER_BYTES:
            break
        order = Order.unpacked(message)
        if order.kind == "kill":
            if order.pid in decoders:  # so it cannot be another process that has its number now
                os.kill(order.pid, signal.SIGKILL)
            continue
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            _born(order, parent, descriptors[0], work)
        os.close(descriptors[0])
        if order.kind == "work":
            decoders.add(pid)
    for pid in decoders:
        os.kill(pid, signal.SIGKILL)


def _reap(decoders: set[int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            decoders.discard(pid)


def _born(order: Order, parent: int, descriptor: int, work: Work) -> None:
    """What a process that was just forked does, until it ends."""
    try:
        os.dup2(descriptor, _OWN)
        os.closerange(_OWN + 1, max(descriptor, 1024) + 1)
        end = socket.socket(fileno=_OWN)
        if order.kind == "work":
            _serve(Line(end), order, parent, work)
        else:
            _tend(end, work)
    except (EOFError, OSError):  # the server is gone
        pass
    finally:
        os._exit(0)


def _serve(line: Line, order: Order, parent: int, work: Work) -> None:
    """Confine this process, then answer recordings for ever."""
    _name("timbre-decoder")
    _die_with(parent)
    in_force = confine(_HEADROOM_BYTES + int(order.max_duration_s * _BYTES_A_SECOND))
    line.send(json.dumps({"pid": os.getpid(), "in_force": in_force}).encode())
    while True:
        data = bytes(line.receive(_LONGEST_FRAME))
        allow_cpu(order.timeout_s)
        send_answer(line, work(data, order.max_duration_s))


def _decoded(data: bytes, max_duration_s: float) -> Answer:
    try:
        return prepare(data, max_duration_s=max_duration_s)
    except AudioRefused as refusal:
        return refusal
    except Exception:  # a bug of ours or of a codec: the server logs it, the decoder lives on
        return traceback.format_exc()


def _warm_up() -> None:
    """Load whatever is loaded, compiled or cached at its first use: afterwards no file can be opened."""
    for module in pkgutil.walk_packages(av.__path__, "av."):  # some are imported for one kind of stream only
        importlib.import_module(module.name)
    noise = np.random.default_rng(0).normal(0, 0.01, 48_000).astype(np.float32)
    wav = io.BytesIO()
    soundfile.write(wav, noise, 48_000, format="WAV", subtype="PCM_16")
    prepare(wav.getvalue(), max_duration_s=2.0)
    with contextlib.suppress(AudioRefused):
        decode(b"fLaC" + wav.getvalue(), max_duration_s=2.0)  # soundfile refuses, then PyAV
    call_filter()


def _silence() -> None:
    """Nothing to read, nowhere to write: codecs tell the error stream what they think of a file."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _name(name: str) -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name, encoding="ascii")


def _die_with(parent: int) -> None:
    """End with the process that forked this one, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)
