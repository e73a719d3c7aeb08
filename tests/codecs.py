"""Encoding test signals into the files that callers send, by the real encoders of soundfile and FFmpeg."""

import io
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soundfile

_SOUNDFILE = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
}
_FFMPEG = {
    "mp3": ("mp3", "libmp3lame"),
    "opus": ("ogg", "libopus"),
    "m4a": ("ipod", "aac"),
    "webm": ("webm", "libopus"),
    "aac": ("adts", "aac"),
    "mp3 in wav": ("wav", "libmp3lame"),
}
KINDS = (*_SOUNDFILE, *_FFMPEG)


def remux(data: bytes, demuxer: str, muxer: str) -> bytes:
    """Move the packets of a file into another container as they are."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data), format=demuxer) as source, av.open(file, "w", format=muxer) as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return file.getvalue()


def encode(
    samples: npt.NDArray[np.floating[Any]],
    kind: str,
    rate: int = 16_000,
    *,
    subtype: str | None = None,
    bit_rate: int = 64_000,
) -> bytes:
    """Write samples (frames,) or (frames, channels) as a file of one of KINDS."""
    if kind in _SOUNDFILE:
        container, usual = _SOUNDFILE[kind]
        file = io.BytesIO()
        soundfile.write(file, samples, rate, format=container, subtype=subtype or usual)
        return file.getvalue()
    return _encode_ffmpeg(np.atleast_2d(samples.T), *_FFMPEG[kind], rate, bit_rate)


def _encode_ffmpeg(
    planes: npt.NDArray[np.floating[Any]], muxer: str, codec: str, rate: int, bit_rate: int
) -> bytes:
    layout = {1: "mono", 2: "stereo"}[len(planes)]
    file = io.BytesIO()
    with av.open(file, "w", format=muxer) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = bit_rate
        stream.codec_context.open()
        whole = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(planes, dtype=np.float32), format="fltp", layout=layout
        )
        whole.sample_rate = rate
        convert = av.AudioResampler(
            format=stream.codec_context.format, layout=layout, rate=stream.codec_context.sample_rate
        )
        fifo = av.AudioFifo()
        for frame in (*convert.resample(whole), *convert.resample(None)):
            fifo.write(frame)
        size = stream.codec_context.frame_size or 1_024
        while (part := fifo.read(size, partial=True)) is not None:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()
