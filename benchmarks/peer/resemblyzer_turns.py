"""Resemblyzer, one call for each line on standard input: run by benchmarks/embed.py with another interpreter.

Answers the first line, the path of a waveform in a .npy file, with its own version; each further line with
the milliseconds of two calls: from waveform to embedding, and its network alone on the spectrograms of that
waveform.
"""

import sys
import time
from importlib.metadata import version

import numpy as np
import torch
from resemblyzer import VoiceEncoder
from resemblyzer.audio import wav_to_mel_spectrogram


def main() -> None:
    torch.set_num_threads(1)
    waveform = np.load(sys.stdin.readline().strip())
    encoder = VoiceEncoder("cpu", verbose=False)
    slices = encoder.compute_partial_slices(len(waveform), rate=1.3, min_coverage=0.75)
    padded = np.pad(waveform, (0, max(0, slices[0][-1].stop - len(waveform))))
    spectrogram = wav_to_mel_spectrogram(padded)
    rows = torch.from_numpy(np.array([spectrogram[part] for part in slices[1]]))
    encoder.embed_utterance(waveform)  # compiles what librosa compiles
    print(version("resemblyzer"), flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        encoder.embed_utterance(waveform)
        between = time.perf_counter()
        with torch.no_grad():
            encoder(rows)
        ended = time.perf_counter()
        print(1000 * (between - started), 1000 * (ended - between), flush=True)


if __name__ == "__main__":
    main()
