"""What is read, by whom, and what nobody reads."""

from typing import Final

DEMUXERS: Final = {
    "wav": "wav",
    "flac": "flac",
    "mp3": "mp3",
    "ogg": "ogg",
    "m4a": "mov",
    "webm": "matroska",
    "aac": "aac",
    "aiff": "aiff",
    "au": "au",
}
"""FFmpeg's demuxer for each container, which it is told and does not guess."""
SOUNDFILE_READS: Final = frozenset({"wav", "flac", "mp3", "ogg", "aiff", "au"})
_NAMES: Final = (
    "aac,ac3,alac,amrnb,amrwb,eac3,flac,g722,g726,gsm,gsm_ms,mp2float,mp3float,opus,speex,vorbis,"
    "adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,pcm_alaw,pcm_mulaw,pcm_s8,pcm_u8,pcm_f32be,pcm_f32le,pcm_f64be,"
    "pcm_f64le,pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be,pcm_s32le"
)
CODECS: Final = frozenset(_NAMES.split(","))
"""FFmpeg's decoders for what people record speech with. It has six times as many for sound, and others for
pictures, which it would try on a cover; each of them is code that reads bytes of strangers."""
NOTHING_ELSE: Final = {
    "codec_whitelist": _NAMES,
    "protocol_whitelist": "none",  # no file and no address that a recording names is opened
    "enable_drefs": "0",
    "use_absolute_path": "0",
}
"""Options of every demuxer."""
PROTECTED: Final = frozenset({"drms", "enca"})
"""Tracks whose packets are encrypted; decoded as they are, they are noise."""
SUBTYPES: Final = {
    "PCM_U8": "pcm_u8",
    "PCM_S8": "pcm_s8",
    "PCM_16": "pcm_s16",
    "PCM_24": "pcm_s24",
    "PCM_32": "pcm_s32",
    "FLOAT": "pcm_f32",
    "DOUBLE": "pcm_f64",
    "MPEG_LAYER_III": "mp3",
}
"""Names of soundfile for codings, and FFmpeg's, without the order of bytes."""
