"""Bad recordings, each with the status and the code that whoever sends it must be told."""

import gzip
import io
import zipfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from tests.codecs import encode, remux
from tests.hostile import containers as made
from tests.hostile.containers import at, good, spoken, u32, wav_header, wav_of, wav_with


class Bad(NamedTuple):
    """A recording and what becomes of it in /verify and /enroll.

    Attributes:
        name: what is bad about it.
        make: the bytes of the upload.
        status: 200 where it can be used all the same.
        code: of the problem; None with 200.
    """

    name: str
    make: Callable[[], bytes]
    status: int
    code: str | None


def recordings(canary: str) -> Iterator[Bad]:
    """Every bad recording.

    Args:
        canary: An address that a decoder might be led to, as `http://127.0.0.1:5000/x`.
    """
    for status, code, cases in (
        (415, "unsupported_media_type", _strangers(canary)),
        (422, "audio_undecodable", _broken()),
        (422, "audio_empty", _empty()),
        (422, "audio_too_long", _bombs()),
        (422, "sample_rate_too_low", _rates()),
        (422, "invalid_samples", _no_numbers()),
        (422, "audio_too_short", _short()),
        (422, "no_speech", _nothing_said()),
        (422, "clipped", _loud()),
        (200, None, _usable(canary)),
    ):
        for name, make in cases.items():
            yield Bad(name, make, status, code)


_Cases = dict[str, Callable[[], bytes]]


def _zip(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("speech.wav", content)
    return file.getvalue()


def _strangers(canary: str) -> _Cases:
    """Nothing that is read, whatever it would lead to."""
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{canary}\n#EXT-X-ENDLIST\n"
    dash = f'<?xml version="1.0"?><MPD><Period><BaseURL>{canary}</BaseURL></Period></MPD>'
    sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nm=audio 5004 RTP/AVP 0\r\n"
    texts = {
        "an HLS playlist": playlist,
        "an M3U playlist": f"{canary}\n",
        "an HLS playlist of a file": playlist.replace(canary, "file:///etc/passwd"),
        "an HLS playlist with a subfile": playlist.replace(canary, "subfile,,start,0,end,100,,:/etc/passwd"),
        "an HLS playlist with a key": playlist.replace(
            "#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="crypto+{canary}"\n#EXTINF'
        ),
        "ffconcat": f"ffconcat version 1.0\nfile '{canary}'\n",
        "ffconcat of a file": "ffconcat version 1.0\nfile '/etc/passwd'\n",
        "the concat protocol": f"concat:{canary}|/etc/passwd",
        "an address": canary,
        "a path": "/etc/passwd",
        "a data address": "data:audio/wav;base64,UklGRg==",
        "a DASH manifest": dash,
        "an SDP description": sdp,
        "a PLS playlist": f"[playlist]\nFile1={canary}\n",
        "an ASX playlist": f'<asx version="3.0"><entry><ref href="{canary}"/></entry></asx>',
        "a redirect of QuickTime": f"RTSPtext\r\n{canary}\r\n",
        "HTML with sound behind": "<html></html>",
        "an image in SVG": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{canary}"/></svg>',
    }
    cases: _Cases = {name: text.encode for name, text in texts.items()}
    return cases | {
        "HTML with an mp3 behind": lambda: b"<html><body></body></html>" + good("mp3"),
        "a PDF": lambda: b"%PDF-1.7\n" + good("wav"),
        "a zip of a wav": lambda: _zip(good("wav")),
        "a wav in gzip": lambda: gzip.compress(good("wav"), mtime=0),
        "a picture": made.png,
        "an animated picture": made.gif,
        "a JPEG": lambda: b"\xff\xd8\xff\xe0" + bytes(500),
        "an ELF program": lambda: b"\x7fELF" + bytes(500),
        "zeros": lambda: bytes(100_000),
        "noise": lambda: b"\x00" + np.random.default_rng(1).bytes(50_000),
        "one byte": lambda: b"R",
        "a byte order mark before a wav": lambda: b"\xef\xbb\xbf" + good("wav"),
        "a newline before a wav": lambda: b"\n" + good("wav"),
        "a wav upside down": lambda: good("wav")[::-1],
        "RIFF, but AVI": lambda: made.video("avi", "mpeg4"),
        "RIFF with a picture": lambda: b"RIFF" + u32(100) + b"WEBPVP8 " + bytes(100),
        "FORM with a picture": lambda: b"FORM" + bytes([0, 0, 0, 100]) + b"ILBMBMHD" + bytes(100),
        "a CAF": lambda: b"caff\0\1\0\0desc" + bytes(200),
        "Wave64": lambda: b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00" + bytes(500),
        "an AMR": lambda: b"#!AMR\n" + bytes(500),
        "a MIDI": lambda: b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk" + bytes(100),
        "Windows Media": lambda: bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(500),
        "an MPEG transport stream": lambda: (b"\x47\x40\x00\x10" + bytes(184)) * 20,
        "an MPEG frame of a reserved version": lambda: b"\xff\xe9\x90\x00" + bytes(500),
        **{
            f"{kind}, its first byte only wrong": lambda kind=kind: b"?" + good(kind)[1:]
            for kind in ("wav", "flac", "opus", "webm")
        },
        **{f"{kind}, two bytes of it": lambda kind=kind: good(kind)[:2] for kind in ("wav", "flac", "m4a")},
    }


def _broken() -> _Cases:
    """The right beginning, and nothing behind it that can be heard."""
    stsz = len(good("m4a"))
    return {
        "wav, the header only half": lambda: good("wav")[:30],
        "wav at 0 Hz": lambda: wav_with(rate=0),
        "wav at 4 GHz": lambda: wav_with(rate=4_000_000_000),
        "wav at 2^32 - 1 Hz": lambda: wav_with(rate=2**32 - 1),
        "au at 4 GHz": lambda: at(good("au"), 16, (4_000_000_000).to_bytes(4, "big")),
        "wav without fmt": lambda: wav_of(made.chunk(b"data", bytes(32_000))),
        "wav with 64 channels": lambda: encode(np.tile(spoken()[:, None], 64), "wav"),
        "wav that claims 65,535 channels": lambda: wav_with(channels=65_535, align=65_535),
        "wav without a channel": lambda: wav_with(channels=0),
        "wav of 0 bits": lambda: wav_with(bits=0),
        "wav of 255 bits": lambda: wav_with(bits=255),
        "wav of an unknown coding": lambda: wav_with(tag=0x1234),
        "wav that says it is MPEG video": lambda: wav_with(tag=0xFFFE),
        "wav of a fmt longer than all": lambda: wav_with(fmt=0xFFFFFFF0),
        "RF64 that claims 2^63 bytes": lambda: _rf64(2**63 - 1, fmt=False),
        "ogg, the first page only": lambda: good("opus")[:47],
        "ogg of a stranger": lambda: made.ogg_page(1, b"\x80theora\3\2\1" + bytes(60)) * 3,
        "ogg with a skeleton only": lambda: made.ogg_page(1, b"fishead\0\3\0" + bytes(60)) * 2,
        "ogg whose pages are empty": lambda: made.ogg_page(1, b"") * 5_000,
        "flac, STREAMINFO only": lambda: at(good("flac")[:42], 4, b"\x80"),
        "flac of zeros": lambda: good("flac")[:42] + bytes(100_000),
        "mp3, one frame header": lambda: b"\xff\xf3\x48\xc4",
        "mp3 of sync bytes": lambda: b"\xff\xfb\x90\x00" * 3_000,
        "m4a without its index": lambda: good("m4a")[: good("m4a").rindex(b"moov") - 4],
        "m4a, its type only": lambda: good("m4a")[:28],
        "m4a in itself without end": lambda: good("m4a")[:28] + _nested_boxes(),
        "m4a of a box of 2^63": lambda: good("m4a")[:28] + b"\0\0\0\1moov" + b"\x7f" * 8,
        "m4a of DRM": lambda: _protected(b"drms"),
        "m4a of common encryption": lambda: _protected(b"enca"),
        "m4a that says it is protected, and is not": lambda: made.atom(good("m4a"), b"stsd", 12, b"drms"),
        "m4a with pictures only": lambda: made.video("mp4", "mpeg4"),
        "m4a of 2^32 samples": lambda: made.atom(good("m4a"), b"stsz", 4, b"\0\0\0\1" + b"\xff" * 4),
        "m4a with offsets beyond all": lambda: made.atom(good("m4a"), b"stco", 8, b"\xff" * 8),
        "an HEIC picture": lambda: made.box(b"ftyp", b"heic\0\0\0\0heic") + bytes(500),
        "webm, its head only": lambda: good("webm")[:40],
        "webm with pictures only": lambda: made.video("webm", "libvpx"),
        "webm that links to other segments": lambda: _linked_segments(),
        "webm of elements in themselves": lambda: _nested_elements(),
        "aac of noise": lambda: b"\xff\xf1\x50\x80" + np.random.default_rng(2).bytes(20_000),
        "aiff without COMM": lambda: b"FORM" + bytes([0, 0, 1, 0]) + b"AIFFSSND" + bytes(248),
        "aiff that claims 2^31 channels": lambda: _aiff(channels=0x7FFF),
        "au of an unknown coding": lambda: at(good("au"), 12, b"\0\0\0\x99"),
        "a tag of 200 MB that is not there": lambda: b"ID3\4\0\0\x5f\x7f\x7f\x7f" + bytes(2_000),
        "a tag and then a zip": lambda: made.id3(1_000) + _zip(good("wav")),
        "a tag and then a playlist": lambda: made.id3(100) + b"#EXTM3U\n/etc/passwd\n",
        "the sample table at odds with itself": lambda: made.atom(good("m4a"), b"stsd", 4, b"\xff" * 4),
        f"m4a, {stsz // 2} of its bytes": lambda: good("m4a")[: stsz // 2],
    }


def _empty() -> _Cases:
    """The header of a recording, and no recording."""
    return {
        "nothing": lambda: b"",
        "wav of 0 samples": lambda: encode(np.zeros(0), "wav"),
        "flac of 0 samples": lambda: encode(np.zeros(0), "flac"),
        "aiff of 0 samples": lambda: encode(np.zeros(0), "aiff"),
        "au of 0 samples": lambda: encode(np.zeros(0), "au"),
        "au whose sound begins behind its end": lambda: at(good("au"), 4, b"\x7f\xff\xff\xff"),
        "wav of one byte of sound": lambda: wav_of(wav_header(), made.chunk(b"data", b"\1")),
    }


def _bombs() -> _Cases:
    """Hours in kilobytes, and headers that claim them."""
    return {
        "10 h of flac": lambda: made.flac_bomb(36_000),
        "10 h of flac that claims nothing": lambda: at(made.flac_bomb(36_000), 21, b"\xf0\0\0\0\0"),
        "1 h of opus": lambda: made.repeated("opus", "ogg", "ogg", 3_600),
        "2 h of m4a": lambda: made.repeated("m4a", "mov", "ipod", 7_200),
        "1 h of webm": lambda: made.repeated("webm", "matroska", "webm", 3_600),
        "2 h of aac": lambda: made.repeated("aac", "aac", "adts", 7_200),
        "2 h of mp3": lambda: made.mp3_frames(7_200),
        "10 min of wav at 8 kHz": lambda: encode(np.zeros(8_000 * 600), "wav", 8_000, subtype="PCM_U8"),
        "10 min of ADPCM": lambda: encode(np.zeros(16_000 * 600), "wav", subtype="IMA_ADPCM"),
        "flac that claims 2^36 samples": lambda: made.flac_with(samples=2**36 - 1),
    }


def _rates() -> _Cases:
    """Rates at which nobody records speech."""
    return {
        "wav at 1 Hz": lambda: wav_with(rate=1),
        "wav at 7,999 Hz": lambda: wav_with(rate=7_999),
        "flac at 1 Hz": lambda: made.flac_with(rate=1),
        "flac at 655 kHz": lambda: made.flac_with(rate=655_350),
    }


def _no_numbers() -> _Cases:
    def floats(value: float, subtype: str = "FLOAT") -> Callable[[], bytes]:
        samples = spoken().astype(np.float64)
        samples[1000:1010] = value
        return lambda: encode(samples, "wav", subtype=subtype)

    return {
        "wav with NaN": floats(np.nan),
        "wav with infinity": floats(np.inf),
        "wav with minus infinity": floats(-np.inf, "DOUBLE"),
        "wav of NaN alone": lambda: encode(np.full(32_000, np.nan), "wav", subtype="FLOAT"),
        "au with NaN": lambda: encode(np.full(32_000, np.nan), "au", subtype="FLOAT"),
    }


def _short() -> _Cases:
    return {
        "wav of 1 sample": lambda: encode(np.full(1, 0.5), "wav"),
        "flac of 1 sample": lambda: encode(np.full(1, 0.5), "flac"),
        "wav of 1 sample at 192 kHz": lambda: encode(np.full(1, 0.5), "wav", 192_000),
        "m4a of packets of years": lambda: made.atom(good("m4a"), b"stts", 12, b"\x7f\xff\xff\xff"),
        "wav of 50 ms": lambda: encode(spoken()[:800], "wav"),
        "wav of 1.5 s that says it is 192 kHz": lambda: at(
            encode(spoken()[:24_000], "wav"), 24, u32(192_000)
        ),
    }


def _loud() -> _Cases:
    return {
        "a square wave": lambda: encode(np.sign(spoken()), "wav"),
        "samples of 10^30": lambda: encode(spoken() * 1e30, "wav", subtype="FLOAT"),
    }


def _nothing_said() -> _Cases:
    return {
        "digital silence": lambda: encode(np.zeros(48_000), "wav"),
        "silence in m4a": lambda: encode(np.zeros(48_000), "m4a"),
        "one click": lambda: encode(np.eye(1, 48_000, 24_000)[0], "wav"),
        "steady noise": lambda: encode(np.random.default_rng(3).normal(0, 0.1, 48_000), "wav"),
        "a whistle": lambda: encode(0.5 * np.sin(np.arange(48_000) * 0.4), "wav"),
        "full scale without change": lambda: encode(np.full(48_000, 0.9), "wav"),
    }


def _usable(canary: str) -> _Cases:
    """What looks bad and is not: a recording whose surroundings are odd is a recording."""
    return {
        "wav and zip in one": lambda: good("wav") + _zip(b"x" * 100),
        "mp3 and HTML in one": lambda: good("mp3") + b"<html><script>alert(1)</script></html>",
        "wav in wav": lambda: wav_of(
            wav_header(), made.chunk(b"junk", good("wav")), made.chunk(b"data", good("wav")[44:])
        ),
        "wav of a thousand chunks": lambda: wav_of(
            wav_header(), made.chunk(b"junk", b"") * 1_000, made.chunk(b"data", good("wav")[44:])
        ),
        "wav of a data chunk that claims 4 GB": lambda: wav_with(riff=0xFFFFFFFF, data=0xFFFFFFFF),
        "RF64 that claims 2^62 bytes": lambda: _rf64(2**62, fmt=True),
        "wav whose byte rate is wrong": lambda: wav_with(byte_rate=1),
        "wav, half of it": lambda: good("wav")[: len(good("wav")) // 2],
        "flac, half of it": lambda: good("flac")[: len(good("flac")) // 2],
        "mp3, half of it": lambda: good("mp3")[: len(good("mp3")) // 2],
        "opus, half of it": lambda: good("opus")[: len(good("opus")) // 2],
        "webm, half of it": lambda: good("webm")[: len(good("webm")) // 2],
        "m4a whose sound is elsewhere, an address": lambda: made.url_reference(canary.encode()),
        "m4a whose sound is elsewhere, a file": lambda: made.url_reference(b"file:///etc/passwd"),
        "m4a with a film": lambda: made.video("mp4", "mpeg4", sound=True),
        "mp3 behind a tag of 3 MB": lambda: made.id3(3_000_000) + good("mp3"),
        "mp3 behind a hundred tags": lambda: made.id3(50) * 100 + good("mp3"),
        "mp3 whose tag names an address": lambda: (
            made.id3(200, b"WXXX\0\0\0\x30\0\0\0\0" + canary.encode()) + good("mp3")
        ),
        "ogg of vorbis, two hundred times": lambda: good("vorbis") * 200,
        "m4a whose header claims years": lambda: made.atom(good("m4a"), b"mdhd", 16, b"\x7f\xff\xff\xff"),
        "samples that are denormal": lambda: encode(spoken() + 1e-40, "wav", subtype="FLOAT"),
        "vorbis in webm": lambda: remux(good("vorbis"), "ogg", "webm"),
        "aac with noise behind": lambda: good("aac") + np.random.default_rng(4).bytes(5_000),
        "flac with every 2,000th byte wrong": lambda: made.every(good("flac"), 2_000, 0xFF),
        "16 channels": lambda: encode(np.tile(spoken()[:, None], 16), "wav"),
        "192 kHz": lambda: encode(np.repeat(spoken(), 12), "wav", 192_000),
    }


def _rf64(size: int, *, fmt: bool) -> bytes:
    """A wav of more than 4 GB, it says: the sizes stand in ds64."""
    lengths = made.chunk(
        b"ds64", size.to_bytes(8, "little") * 2 + (size // 2).to_bytes(8, "little") + bytes(4)
    )
    data = b"data" + u32(0xFFFFFFFF) + good("wav")[44:]
    return b"RF64" + u32(0xFFFFFFFF) + b"WAVE" + lengths + (wav_header() if fmt else b"") + data


def _nested_boxes() -> bytes:
    inner = b""
    for _ in range(2_000):
        inner = made.box(b"moov", inner)
    return inner


def _nested_elements() -> bytes:
    inner = b""
    for _ in range(500):
        inner = made.ebml(b"\x18\x53\x80\x67", inner)
    return good("webm")[:36] + inner


def _linked_segments() -> bytes:
    """A segment whose sound is to be found in others, by their names."""
    link = made.ebml(b"\x3e\xb9\x23", bytes(16)) + made.ebml(b"\x3e\x83\xbb", b"/etc/passwd")
    chapter = made.ebml(b"\x6e\x67", bytes(16))
    info = made.ebml(b"\x15\x49\xa9\x66", link)
    chapters = made.ebml(b"\x10\x43\xa7\x70", made.ebml(b"\x45\xb9", made.ebml(b"\xb6", chapter)))
    return good("webm")[:36] + made.ebml(b"\x18\x53\x80\x67", info + chapters)


def _protected(tag: bytes) -> bytes:
    """A track that only its player may hear: the packets are scrambled, the rest says so."""
    data = good("m4a")
    start = data.index(b"mdat") + 4
    end = data.rindex(b"moov") - 4
    noise = np.random.default_rng(5).bytes(end - start)
    scrambled = bytes(a ^ b for a, b in zip(data[start:end], noise, strict=True))
    data = data[:start] + scrambled + data[end:]
    return at(data, data.rindex(b"mp4a"), tag)


def _aiff(channels: int) -> bytes:
    data = good("aiff")
    return at(data, data.index(b"COMM") + 8, channels.to_bytes(2, "big"))
