"""Make the synthetic voices of the tests: ten of espeak-ng's, four sentences each, Ogg Opus at 16 kHz.

Run it by hand (`python -m tests.data.make_clips`) where espeak-ng is installed; the clips are committed, so
that neither the tests nor the demo need it. The sentences are ours.
"""

import io
import json
import subprocess
from pathlib import Path

import librosa
import numpy as np
import soundfile

from tests.codecs import encode

HERE = Path(__file__).parent
# Chosen out of forty variants: each voice's takes are nearer to each other, by the statistics of their MFCC,
# than any is to another voice.
VOICES: dict[str, tuple[str, int, int]] = {
    # name: (espeak-ng voice+variant, pitch 0..99, words a minute)
    "ada": ("en-us+anika", 60, 165),
    "bruno": ("en-us+m5", 25, 160),
    "cleo": ("en-us+Andrea", 60, 170),
    "dan": ("en-us+adam", 40, 160),
    "emil": ("en-us+norbert", 50, 160),
    "fay": ("en-gb-scotland+linda", 40, 160),
    "gus": ("en-us+Gene", 30, 160),
    "hana": ("en-us+Storm", 30, 150),
    "ivo": ("en-us+quincy", 45, 165),
    "june": ("en-gb+f2", 62, 165),
}
SENTENCES = (
    "The kettle in the kitchen has just begun to whistle.",
    "Please turn the lights down in the living room.",
    "My appointment is on Thursday at a quarter past nine.",
    "Seven small boats were waiting in the harbour.",
    "I would like to hear some music from the eighties.",
    "The parcel was left with a neighbour at number four.",
    "Could you read me the message from my brother again?",
    "Yesterday the train to the coast was late once more.",
    "We planted two apple trees behind the old garage.",
    "Remind me to call the dentist tomorrow morning.",
    "The meeting was moved to the blue room upstairs.",
    "Nobody remembered where the spare key was hidden.",
)
CLIPS_PER_VOICE = 4


def synthesise(text: str, voice: str) -> np.ndarray:
    """Speak with espeak-ng; float32 (samples,), 16 kHz, peak -6 dBFS, over a faint noise of a room."""
    name, pitch, speed = VOICES[voice]
    command = ["espeak-ng", "-v", name, "-p", str(pitch), "-s", str(speed), "--stdout", text]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    spoken, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    spoken = librosa.resample(spoken, orig_sr=rate, target_sr=16_000, res_type="soxr_vhq")
    spoken = np.pad(spoken, 3_200) * (0.5 / np.abs(spoken).max())
    hiss = np.random.default_rng(len(text)).normal(0, 4e-4, len(spoken))
    return (spoken + hiss).astype(np.float32)


def main() -> None:
    index: dict[str, list[dict[str, str]]] = {}
    for number, voice in enumerate(VOICES):
        index[voice] = []
        for take in range(CLIPS_PER_VOICE):
            text = SENTENCES[(number * CLIPS_PER_VOICE + take) % len(SENTENCES)]
            path = HERE / f"{voice}-{take + 1}.opus"
            path.write_bytes(encode(synthesise(text, voice), "opus", bit_rate=18_000))
            index[voice].append({"file": path.name, "text": text})
    (HERE / "clips.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
