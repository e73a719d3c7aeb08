"""A coverage-guided fuzz of what is read of an upload before a decoder has it: app.audio.sniff.

`python -m tests.hostile.sniffing -max_total_time=60 FOLDER` is libFuzzer with its own options.
"""

import sys

import atheris

with atheris.instrument_imports(include=["app.audio.sniff"]):
    from app.audio.sniff import sniff, was_cut_off
from app.errors import AudioRefused


def once(data: bytes) -> None:
    """Whatever the bytes are, they are named or refused."""
    was_cut_off(data)
    try:
        container = sniff(data)
    except AudioRefused:
        return
    assert container in {"wav", "flac", "mp3", "ogg", "m4a", "webm", "aac", "aiff", "au"}


if __name__ == "__main__":
    atheris.Setup(sys.argv, once)
    atheris.Fuzz()
