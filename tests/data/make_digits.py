"""Make the spoken digits of the tests: two of the synthetic voices, zero to nine, Ogg Opus at 16 kHz.

Run it by hand (`python -m tests.data.make_digits`) where espeak-ng is installed; the two files are committed.
A file holds a digit in each of its ten seconds, from 0 on. The digit model learnt from neither voice.
"""

import numpy as np

from app.arrays import SAMPLE_RATE_HZ
from tests.codecs import encode
from tests.data.make_clips import HERE, synthesise
from tests.spoken_digits import VOICES

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def main() -> None:
    for voice in VOICES:
        seconds = np.random.default_rng(0).normal(0, 4e-4, (len(_WORDS), SAMPLE_RATE_HZ))
        for second, word in zip(seconds, _WORDS, strict=True):
            said = synthesise(word, voice)[1_600:][:SAMPLE_RATE_HZ]
            second[: len(said)] = said
        samples = seconds.reshape(-1).astype(np.float32)
        (HERE / f"digits-{voice}.opus").write_bytes(encode(samples, "opus", bit_rate=24_000))


if __name__ == "__main__":
    main()
