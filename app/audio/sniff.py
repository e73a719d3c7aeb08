"""What the bytes of an upload are, read from the bytes alone."""

from typing import Final

from app.errors import AudioEmpty, UnsupportedMediaType

_STREAMED_BYTES: Final = 0x7FFF_0000
"""A RIFF size from here on was written by a program that could not seek back; it claims nothing."""
_STRANGERS: Final = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive",
    b"\x89PNG": "an image",
    b"#EXT": "a playlist",
}


def sniff(data: bytes) -> str:
    """Name the container that the bytes are: wav, flac, mp3, ogg, m4a, webm, aac, aiff or au.

    Raises:
        AudioEmpty: there are no bytes.
        UnsupportedMediaType: the bytes begin like none of these.
    """
    if not data:
        raise AudioEmpty
    head = data[:16]
    if head[:3] == b"ID3":
        # A tag may stand before mp3 (usual), flac or ADTS; its size has 7 bits a byte.
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
        behind = data[10 + size : 26 + size]
        return (_magic(behind) if behind else None) or "mp3"
    container = _magic(head)
    if container is None:
        raise UnsupportedMediaType(found=_describe(head))
    return container


def _magic(head: bytes) -> str | None:
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] == b"ftyp":
        return "m4a"
    if len(head) > 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return _mpeg(head)
    return {b"fLaC": "flac", b"OggS": "ogg", b"\x1aE\xdf\xa3": "webm", b".snd": "au"}.get(head[:4])


def _mpeg(head: bytes) -> str | None:
    """Tell an mp3 frame header from an ADTS one; both start with the same sync bits."""
    if head[1] & 0xF6 == 0xF0:
        return "aac"
    version, layer, bitrate, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    return "mp3" if version != 1 and layer != 0 and bitrate != 15 and rate != 3 else None


def _describe(head: bytes) -> str:
    return _STRANGERS.get(head[:4]) or f"they begin with {head[:4].hex(' ')}"


def was_cut_off(data: bytes) -> bool:
    """Tell whether a wav or aiff file ends before its header says so: libsndfile takes what is there."""
    if data[:4] not in (b"RIFF", b"FORM"):
        return False
    claimed = int.from_bytes(data[4:8], "little" if data[:4] == b"RIFF" else "big")
    return len(data) - 8 < claimed < _STREAMED_BYTES
