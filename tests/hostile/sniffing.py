"""A coverage-guided fuzz of what is read of an upload before a decoder has it: app.audio.sniff.

`python -m tests.hostile.sniffing -max_total_time=60 FOLDER` is libFuzzer with its own options.
"""

import resource
import sys
from typing import Final

import atheris

with atheris.instrument_imports(include=["app.audio.sniff"]):
    from app.audio.sniff import sniff, was_cut_off
from app.errors import AudioRefused

MOST_BYTES: Final = 2 << 30


def once(data: bytes) -> None:
    """Whatever the bytes are, they are named or refused."""
    was_cut_off(data)
    try:
        container = sniff(data)
    except AudioRefused:
        return
    assert container in {"wav", "flac", "mp3", "ogg", "m4a", "webm", "aac", "aiff", "au"}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    # libFuzzer's own limit reads a peak that a process takes over from the one that started it.
    atheris.Setup([*sys.argv, "-rss_limit_mb=0"], once)
    atheris.Fuzz()
