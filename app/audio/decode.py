"""Bytes → waveform: what the upload really is, decoded in this process within a budget.

The kind of recording is read from its bytes, never from a name or a header of the request. soundfile
decodes what it knows; PyAV takes the rest (m4a, webm) and what soundfile gives up on, always with the
demuxer forced, so that no upload can pick a playlist or another protocol. Samples are read in blocks and
mixed and resampled at once: the memory in use follows what was decoded so far, never what a header claims,
and hours of a recording are held at 16 kHz only.
"""

import io
import math
from dataclasses import dataclass
from typing import Final, cast

import av
import av.error
import librosa
import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.audio.formats import CODECS, DEMUXERS, NOTHING_ELSE, PROTECTED, SOUNDFILE_READS, SUBTYPES
from app.audio.sniff import sniff, was_cut_off
from app.errors import (
    AudioEmpty,
    AudioTooLong,
    AudioUndecodable,
    InvalidSamples,
    SampleRateTooLow,
)

__all__ = ["Recording", "decode", "sniff"]

MIN_SAMPLE_RATE_HZ: Final = 8_000
MAX_SAMPLE_RATE_HZ: Final = 192_000
MAX_CHANNELS: Final = 16
"""A microphone array has fewer; a file that claims more is damaged or an attack on memory."""
CLIP_LEVEL: Final = 0.98
"""|sample| from which a sample counts as clipped. Full scale is 0.980 in mu-law and 0.992 in 8 bits."""
_BLOCK_SAMPLES: Final = 1 << 20
"""Source samples read at once, all channels together: 4 MiB as float32."""
_CLAIM_SLACK_S: Final = 0.25
"""How much less than claimed an intact file may hold: the padding of lossy codecs."""

_UNREADABLE: Final = (
    av.error.FFmpegError,
    soundfile.SoundFileError,
    ArithmeticError,
    AssertionError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What the two libraries were seen or are documented to raise on damaged bytes; never an AudioRefused."""
_Block = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """A decoded upload.

    Attributes:
        waveform: float32 (samples,), 16 kHz, the mean of the channels, range [-1, 1].
        duration_s: length of the source, in seconds.
        sample_rate_hz: sample rate of the source.
        channels: channels of the source.
        codec: how the source is coded: `pcm_s16le`, `flac`, `mp3`, `vorbis`, `opus`, `aac`, `alaw` …
        peak_dbfs: level of the largest source sample of any channel, in dB relative to full scale;
            minus infinity for digital silence.
        clipped_ratio: share of the source samples at full scale, in [0, 1].
        truncated: the file ends before its own header says so, or breaks off in damaged data.
    """

    waveform: Waveform
    duration_s: float
    sample_rate_hz: int
    channels: int
    codec: str
    peak_dbfs: float
    clipped_ratio: float
    truncated: bool = False


def decode(data: bytes, *, max_duration_s: float) -> Recording:
    """Decode an upload to 16 kHz mono.

    Args:
        data: the bytes of the file, of any supported kind.
        max_duration_s: longest recording that is read, in seconds.

    Raises:
        AudioRefused: the leaf that says why it cannot be used: UnsupportedMediaType, AudioEmpty,
            AudioUndecodable, AudioTooLong, InvalidSamples or SampleRateTooLow. No other exception leaves.
    """
    container = sniff(data)
    tape = _Tape(container, max_duration_s)
    try:
        if container in SOUNDFILE_READS:
            _read_soundfile(data, tape)
        else:
            _read_pyav(data, tape)
    except _UNREADABLE as error:
        if not tape.frames and container in SOUNDFILE_READS:
            _second_opinion(data, tape)  # mp3 or ADPCM in wav, speex in ogg, a damaged header …
        elif not tape.frames:
            raise AudioUndecodable(container=container, problem=_one_line(error)) from None
        else:
            tape.truncated = True  # it broke off in the middle: what came before is the recording
    return tape.recording(cut_off=was_cut_off(data))


def _second_opinion(data: bytes, tape: "_Tape") -> None:
    try:
        _read_pyav(data, tape)
    except _UNREADABLE as error:
        if not tape.frames:
            raise AudioUndecodable(container=tape.container, problem=_one_line(error)) from None
        tape.truncated = True


class _Tape:
    """What was read so far: mono at the source's rate, and what is measured on the source samples."""

    def __init__(self, container: str, max_duration_s: float) -> None:
        self.container = container
        self.max_duration_s = max_duration_s
        self.truncated = False
        self.rate, self.channels, self.codec, self.claimed = 0, 0, "", 0.0
        self.frames = 0
        self._blocks: list[Waveform] = []
        self._resampler: soxr.ResampleStream | None = None
        self._peak = 0.0
        self._clipped = 0
        self._invalid = 0

    def thread(self, rate: int, channels: int, codec: str, claimed_s: float) -> None:
        """Check what the header claims, before any sample is read.

        Raises:
            SampleRateTooLow, AudioUndecodable, AudioTooLong
        """
        if rate <= 0:
            raise AudioUndecodable(container=self.container, problem="it names no sample rate")
        if not MIN_SAMPLE_RATE_HZ <= rate <= MAX_SAMPLE_RATE_HZ:
            raise SampleRateTooLow(rate, MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ)
        if not 1 <= channels <= MAX_CHANNELS:
            problem = f"it has {channels} channels; at most {MAX_CHANNELS} are read"
            raise AudioUndecodable(container=self.container, problem=problem)
        if claimed_s > self.max_duration_s:
            raise AudioTooLong(limit_s=self.max_duration_s)
        self.rate, self.channels, self.codec, self.claimed = rate, channels, codec, claimed_s
        if rate != SAMPLE_RATE_HZ:
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE_HZ, 1, dtype="float32", quality="soxr_hq")

    def add(self, block: _Block) -> None:
        """Measure a block (frames, channels) of source samples and keep the mean of its channels at 16 kHz.

        Raises:
            AudioTooLong: with this block the recording is longer than allowed.
        """
        self.frames += len(block)
        if self.frames > self.max_duration_s * self.rate:
            raise AudioTooLong(limit_s=self.max_duration_s)
        peak = float(np.max(np.abs(block), initial=0.0))
        if not math.isfinite(peak):
            self._invalid += int(np.count_nonzero(~np.isfinite(block)))
            return
        self._peak = max(self._peak, peak)
        if peak >= CLIP_LEVEL:
            self._clipped += int(np.count_nonzero(np.abs(block) >= CLIP_LEVEL))
            block = np.clip(block, -1.0, 1.0)  # a lossy codec overshoots; a float file may hold anything
        self._keep(block[:, 0] if self.channels == 1 else block.mean(axis=1, dtype=np.float32))

    def _keep(self, mono: _Block, *, last: bool = False) -> None:
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(np.ascontiguousarray(mono), last=last)
        self._blocks.append(mono)

    def recording(self, *, cut_off: bool) -> Recording:
        """Join the blocks.

        Raises:
            AudioEmpty, AudioUndecodable, InvalidSamples
        """
        if self._invalid:
            raise InvalidSamples(count=self._invalid)
        if not self.frames and self.claimed > 0:
            problem = f"it claims {self.claimed:.2f} s but holds no samples"
            raise AudioUndecodable(container=self.container, problem=problem)
        if not self.frames:
            raise AudioEmpty
        return Recording(
            waveform=self._joined(),
            duration_s=self.frames / self.rate,
            sample_rate_hz=self.rate,
            channels=self.channels,
            codec=self.codec,
            peak_dbfs=20 * math.log10(self._peak) if self._peak > 0 else -math.inf,
            clipped_ratio=self._clipped / (self.frames * self.channels),
            truncated=cut_off or self.truncated or self.frames / self.rate < self.claimed - _CLAIM_SLACK_S,
        )

    def _joined(self) -> Waveform:
        if self._resampler is None:
            one = self._blocks[0] if len(self._blocks) == 1 else np.concatenate(self._blocks)
            return np.ascontiguousarray(one, dtype=np.float32)
        self._keep(np.empty(0, np.float32), last=True)
        samples = math.ceil(self.frames * SAMPLE_RATE_HZ / self.rate)
        resampled = librosa.util.fix_length(np.concatenate(self._blocks), size=samples)
        return np.clip(resampled, -1.0, 1.0, out=resampled)


class _Bytes(io.BytesIO):
    """Bytes that stay where they are when a damaged header sends libsndfile to before the first of them.

    An exception inside libsndfile's callback would be printed, not raised.
    """

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def _read_soundfile(data: bytes, tape: _Tape) -> None:
    with soundfile.SoundFile(_Bytes(data)) as source:
        codec = _codec_name(tape.container, source.subtype, data)
        # Where the writer could not seek back, libsndfile reports 2^63 - 1 frames: no claim at all.
        claimed_s = 0.0 if source.frames > 2**60 else source.frames / max(source.samplerate, 1)
        tape.thread(source.samplerate, source.channels, codec, claimed_s)
        # Large blocks: after each one soundfile seeks, which makes a lossy codec decode its run-up again.
        size = _BLOCK_SAMPLES // source.channels
        while len(block := source.read(size, dtype="float32", always_2d=True)):
            tape.add(block)


def _codec_name(container: str, subtype: str, data: bytes) -> str:
    """Name a soundfile subtype as FFmpeg does, since the same recording may go either way."""
    name = SUBTYPES.get(subtype, subtype.lower())
    if not name.startswith("pcm_"):
        return {"ulaw": "mulaw"}.get(name, name)
    if container in ("flac", "ogg"):
        return "flac"
    if name.endswith("8"):
        return name
    return name + ("le" if data[:4] in (b"RIFF", b"RF64") else "be")


def _read_pyav(data: bytes, tape: _Tape) -> None:
    demuxer = DEMUXERS[tape.container]
    # A title that is no UTF-8 is no reason to refuse a recording.
    with av.open(
        io.BytesIO(data), mode="r", format=demuxer, options=NOTHING_ELSE, metadata_errors="replace"
    ) as source:
        if not source.streams.audio:
            raise AudioUndecodable(container=tape.container, problem="it holds no audio track")
        stream = source.streams.audio[0]
        # Its type says otherwise, but a track in a coding that FFmpeg cannot name has no codec.
        context = cast("AudioCodecContext | None", stream.codec_context)
        if context is None or context.codec.name not in CODECS:
            raise AudioUndecodable(container=tape.container, problem="its coding is not among those read")
        if context.codec_tag in PROTECTED:
            raise AudioUndecodable(container=tape.container, problem="it is protected against copying")
        name = context.codec.canonical_name
        name = name.removeprefix("pcm_") if name.endswith("law") else name
        tape.thread(context.sample_rate, context.channels, name, _claimed_s(source, stream))
        # To what the header said, whatever the frames say of themselves.
        to_float = av.AudioResampler(format="fltp", layout=context.layout, rate=context.sample_rate)
        for frame in source.decode(stream):
            for planes in to_float.resample(frame):
                tape.add(np.asarray(planes.to_ndarray(), dtype=np.float32).T)


def _claimed_s(source: InputContainer, stream: AudioStream) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (source.duration or 0) / av.time_base


def _one_line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200].rstrip(".").lower()
