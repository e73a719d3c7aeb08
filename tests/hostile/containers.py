"""Files that no honest program writes: bombs, lies and strangers, by the real encoders and some surgery."""

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import av
import numpy as np
import soundfile

from app.arrays import Waveform
from tests.codecs import encode
from training.signals import speech_like

RATE = 16_000


@cache
def spoken() -> Waveform:
    """Three seconds that would be accepted, float32 (samples,), 16 kHz."""
    return speech_like(3.0, speaker=1)


@cache
def good(kind: str) -> bytes:
    """The same as a file of one of tests.codecs.KINDS."""
    return encode(spoken(), kind)


def at(data: bytes, offset: int, replacement: bytes) -> bytes:
    """`data` with other bytes from `offset` on."""
    return data[:offset] + replacement + data[offset + len(replacement) :]


def u16(value: int) -> bytes:
    """Little endian."""
    return struct.pack("<H", value)


def u32(value: int) -> bytes:
    """Little endian."""
    return struct.pack("<I", value)


_WAV: Final = {
    "riff": (4, u32),
    "fmt": (16, u32),
    "tag": (20, u16),
    "channels": (22, u16),
    "rate": (24, u32),
    "byte_rate": (28, u32),
    "align": (32, u16),
    "bits": (34, u16),
    "data": (40, u32),
}


def wav_with(**fields: int) -> bytes:
    """A good wav with other numbers in its header, by the names of _WAV."""
    data = good("wav")
    for name, value in fields.items():
        offset, packed = _WAV[name]
        data = at(data, offset, packed(value))
    return data


def chunk(name: bytes, content: bytes) -> bytes:
    """A RIFF chunk."""
    return name + u32(len(content)) + content + b"\0" * (len(content) % 2)


def wav_of(*chunks: bytes) -> bytes:
    """A wav of these chunks."""
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + u32(len(body)) + body


def wav_header(rate: int = RATE, channels: int = 1, bits: int = 16, tag: int = 1) -> bytes:
    """The chunk `fmt `."""
    align = max(1, channels * bits // 8)
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * align % 2**32, align, bits))


def flac_with(*, rate: int | None = None, samples: int | None = None, channels: int | None = None) -> bytes:
    """A good flac with other numbers in STREAMINFO."""
    data = good("flac")
    word = int.from_bytes(data[18:26], "big")
    if rate is not None:
        word = word & ~(0xFFFFF << 44) | rate << 44
    if channels is not None:
        word = word & ~(7 << 41) | (channels - 1) << 41
    if samples is not None:
        word = word & ~(2**36 - 1) | samples
    return at(data, 18, word.to_bytes(8, "big"))


def atom(data: bytes, name: bytes, offset: int, replacement: bytes) -> bytes:
    """An MP4 with other bytes in its last atom of a name, `offset` bytes behind the name."""
    return at(data, data.rindex(name) + len(name) + offset, replacement)


def box(name: bytes, content: bytes) -> bytes:
    """An MP4 atom."""
    return struct.pack(">I", 8 + len(content)) + name + content


def _with_reference(reference: bytes) -> bytes:
    """An MP4 whose sound lies elsewhere, it says."""
    data = good("m4a")
    start = data.index(b"dref") - 4
    size = struct.unpack(">I", data[start : start + 4])[0]
    other = box(b"dref", struct.pack(">II", 0, 1) + reference)
    data = data[:start] + other + data[start + size :]
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        place = data.rindex(parent) - 4
        grown = struct.unpack(">I", data[place : place + 4])[0] + len(other) - size
        data = at(data, place, struct.pack(">I", grown))
    return data


def url_reference(url: bytes) -> bytes:
    """Its data reference is an address."""
    return _with_reference(box(b"url ", b"\0\0\0\0" + url + b"\0"))


def alias_reference(path: bytes) -> bytes:
    """Its data reference is a Macintosh alias record with the path of a file."""
    name = path.rpartition(b"/")[2][:27]
    head = bytearray(146)
    head[0:4] = struct.pack(">HH", 0, 2)
    head[6:7] = b"\1"
    head[46] = len(name)
    head[47 : 47 + len(name)] = name
    head[126:130] = struct.pack(">hh", 1, 1)
    paths = b"".join(
        struct.pack(">HH", kind, len(text)) + text + b"\0" * (len(text) % 2)
        for kind, text in ((2, path), (18, path))
    )
    record = b"\0\0\0\0" + struct.pack(">H", len(head) + len(paths) + 8) + bytes(head) + paths
    return _with_reference(box(b"alis", b"\0\0\0\0" + record + struct.pack(">HH", 0xFFFF, 0)))


def _packets(kind: str, demuxer: str) -> tuple[Any, list[bytes], int]:
    container = av.open(io.BytesIO(encode(np.zeros(RATE * 3), kind)), format=demuxer)
    stream = container.streams.audio[0]
    packets = [packet for packet in container.demux(stream) if packet.size]
    middle = packets[len(packets) // 2]
    return container, [bytes(middle)], int(middle.duration or 0)


def repeated(kind: str, demuxer: str, muxer: str, seconds: float) -> bytes:
    """Silence of that length, as one packet that comes again and again: a bomb that costs nothing to make."""
    source, (packet_bytes,), ticks = _packets(kind, demuxer)
    stream = source.streams.audio[0]
    file = io.BytesIO()
    with source, av.open(file, "w", format=muxer) as target:
        copy = target.add_stream_from_template(stream)
        count = int(seconds / (ticks * stream.time_base))
        for number in range(count):
            packet = av.Packet(packet_bytes)
            packet.pts = packet.dts = number * ticks
            packet.duration, packet.time_base, packet.stream = ticks, stream.time_base, copy
            target.mux(packet)
    return file.getvalue()


@cache
def flac_bomb(seconds: int, rate: int = 8_000) -> bytes:
    """Hours of silence in some kilobytes."""
    file = io.BytesIO()
    block = np.zeros(rate * 60, np.int16)
    with soundfile.SoundFile(file, "w", rate, 1, "PCM_16", format="FLAC") as target:
        for _ in range(seconds // 60):
            target.write(block)
    return file.getvalue()


def mp3_frames(seconds: float) -> bytes:
    """Silence as frames alone, without the header that says how many."""
    data = encode(np.zeros(RATE * 2), "mp3", bit_rate=8_000)
    start = data.index(b"\xff\xf3", data.index(b"\xff\xf3", 10) + 100)
    frames = list(_mp3_walk(data, start))
    return frames[len(frames) // 2] * int(seconds / 0.036)


def _mp3_walk(data: bytes, start: int) -> Iterator[bytes]:
    rates = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    while start + 4 < len(data) and data[start] == 0xFF:
        kilobits, padding = rates[data[start + 2] >> 4], data[start + 2] >> 1 & 1
        size = 72 * kilobits * 1000 // RATE + padding
        yield data[start : start + size]
        start += size


def png(side: int = 8) -> bytes:
    """A grey picture."""
    rows = zlib.compress(b"".join(b"\0" + b"\x80" * side for _ in range(side)))

    def part(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


def gif() -> bytes:
    """An animated picture of one point."""
    frame = b"\x21\xf9\x04\0\x0a\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0"
    return b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff" + frame * 50 + b"\x3b"


def video(muxer: str, codec: str, *, sound: bool = False) -> bytes:
    """Pictures in a container that usually brings sound."""
    file = io.BytesIO()
    with av.open(file, "w", format=muxer) as target:
        stream: Any = target.add_stream(codec, rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        spoken_stream: Any = target.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for number in range(10):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number * 20, np.uint8), format="rgb24")
            target.mux(stream.encode(picture))
        target.mux(stream.encode(None))
        if sound:
            frame = av.AudioFrame.from_ndarray(spoken()[None], format="fltp", layout="mono")
            frame.sample_rate = RATE
            fifo = av.AudioFifo()
            fifo.write(frame)
            while (part := fifo.read(1024, partial=True)) is not None:
                target.mux(spoken_stream.encode(part))
            target.mux(spoken_stream.encode(None))
    return file.getvalue()


def id3(size: int, content: bytes = b"") -> bytes:
    """A tag of that size in front of sound."""
    packed = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + packed + content.ljust(size, b"\0")


def ebml(name: bytes, content: bytes) -> bytes:
    """A Matroska element whose length takes eight bytes."""
    return name + b"\x01" + len(content).to_bytes(7, "big") + content


def ogg_page(serial: int, content: bytes, flags: int = 2) -> bytes:
    """One page with one packet."""
    lacing = [255] * (len(content) // 255) + [len(content) % 255]
    head = b"OggS\0" + bytes([flags]) + bytes(8) + u32(serial) + u32(0)
    page = head + u32(0) + bytes([len(lacing)]) + bytes(lacing) + content
    return at(page, 22, u32(_ogg_crc(page)))


def _ogg_crc(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def every(data: bytes, step: int, value: int) -> bytes:
    """`data` with every `step`th byte behind the first hundred set to something else."""
    return bytes(value if i > 100 and i % step == 0 else byte for i, byte in enumerate(data))


def unsynchronised(data: bytes) -> bytes:
    """Frames in the wrong order."""
    pieces = [data[i : i + 500] for i in range(200, len(data), 500)]
    return data[:200] + b"".join(itertools.chain(pieces[::2], pieces[1::2]))
