"""Good files made bad in the ways in which files get bad, and in those in which somebody makes them bad."""

import struct
from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np

from tests.codecs import KINDS, encode
from tests.hostile.containers import spoken
from tests.speech import clip, voices

_NUMBERS: Final = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
)
_HEAD: Final = 512
Generator = np.random.Generator


@cache
def seeds() -> tuple[bytes, ...]:
    """Files of every kind, mono and stereo, at several rates: 1 to 4 s each."""
    second = spoken()[:20_000]
    made = [encode(second, kind) for kind in KINDS]
    made += [encode(np.stack([second, second], axis=1), kind, 48_000) for kind in KINDS]
    made += [
        encode(second, "wav", subtype=each) for each in ("ALAW", "IMA_ADPCM", "MS_ADPCM", "FLOAT", "GSM610")
    ]
    return (*made, *(clip(voice) for voice in voices()[:3]))


def mutated(seed: int, number: int) -> bytes:
    """The mutation of that number, always the same: one to four changes of one of the seeds."""
    random = np.random.default_rng((seed, number))
    data = seeds()[int(random.integers(len(seeds())))]
    for _ in range(int(random.integers(1, 5))):
        data = _WAYS[int(random.integers(len(_WAYS)))](data, random)
    return data


def _place(data: bytes, random: Generator) -> int:
    """Somewhere, half of the time near the beginning."""
    limit = min(len(data), _HEAD) if random.random() < 0.5 else len(data)
    return int(random.integers(max(1, limit)))


def _flip(data: bytes, random: Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 20)) if changed else 0):
        changed[_place(data, random)] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _overwrite(data: bytes, random: Generator) -> bytes:
    start = _place(data, random)
    return data[:start] + random.bytes(int(random.integers(1, 64))) + data[start + 64 :]


def _cut(data: bytes, random: Generator) -> bytes:
    return data[: _place(data, random)]


def _lose(data: bytes, random: Generator) -> bytes:
    start = _place(data, random)
    return data[:start] + data[start + int(random.integers(1, 2_000)) :]


def _repeat(data: bytes, random: Generator) -> bytes:
    start = _place(data, random)
    block = data[start : start + int(random.integers(1, 2_000))]
    return data[:start] + block * int(random.integers(2, 20)) + data[start:]


def _splice(data: bytes, random: Generator) -> bytes:
    other = seeds()[int(random.integers(len(seeds())))]
    return data[: _place(data, random)] + other[_place(other, random) :]


def _lie(data: bytes, random: Generator) -> bytes:
    """A number of a header: at a place where some format may have one."""
    start = _place(data, random) & ~1
    kind = "<>"[int(random.integers(2))] + "BHIQ"[int(random.integers(4))]
    value = _NUMBERS[int(random.integers(len(_NUMBERS)))] + int(random.integers(-1, 2))
    packed = struct.pack(kind, value % 256 ** struct.calcsize(kind))
    return data[:start] + packed + data[start + len(packed) :]


def _lie_about_a_size(data: bytes, random: Generator) -> bytes:
    """The length that stands beside a chunk's or an atom's name."""
    names = [name for name in _CHUNKS if name in data]
    if not names:
        return _lie(data, random)
    name = names[int(random.integers(len(names)))]
    place = data.index(name) + (4 if name in _RIFF else -4)
    value = _NUMBERS[int(random.integers(len(_NUMBERS)))]
    packed = struct.pack("<I" if name in _RIFF else ">I", value)
    return data[: max(0, place)] + packed + data[max(0, place) + 4 :]


def _pad(data: bytes, random: Generator) -> bytes:
    start = _place(data, random)
    return data[:start] + bytes([int(random.integers(256))]) * int(random.integers(1, 5_000)) + data[start:]


_RIFF: Final = (b"RIFF", b"fmt ", b"data", b"fact", b"LIST")
_CHUNKS: Final = (
    *_RIFF,
    *(b"FORM", b"COMM", b"SSND", b"ftyp", b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"stts"),
    *(b"stsc", b"stsz", b"stco", b"esds", b"mdat", b"udta", b"edts", b"elst", b"dref"),
)
_WAYS: Final[tuple[Callable[[bytes, Generator], bytes], ...]] = (
    *(_flip, _flip, _overwrite, _cut, _lose, _repeat, _splice),
    *(_lie, _lie, _lie_about_a_size, _lie_about_a_size, _pad),
)
