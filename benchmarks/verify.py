"""How long POST /verify takes for a 3 s wav, and where its milliseconds go.

    python -m benchmarks.verify [--calls 200]

Starts a server of its own, enrolls one voice, and sends the same clip again and again. The stages
come from the server's own /metrics. The ratio at the end is the whole call against the bare model on
the same clip in the same run, so that runs on different machines can be compared.
"""

import argparse
import io
import json
import re
import time
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import soundfile

from app.audio import prepare
from app.cli.process import own_server
from app.embedder import Embedder
from app.settings import Settings

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
STAGES = ("decode", "embed", "search", "store")


def three_seconds(voice: str) -> bytes:
    """A 3 s wav, 16-bit mono, of one of the committed voices."""
    clips = [soundfile.read(path, dtype="float32") for path in sorted(DATA.glob(f"{voice}-*.opus"))]
    speech = np.concatenate([samples for samples, _ in clips])[: 3 * clips[0][1]]
    file = io.BytesIO()
    soundfile.write(file, speech, clips[0][1], format="WAV", subtype="PCM_16")
    return file.getvalue()


def stage_seconds(exposition: str) -> dict[str, float]:
    """Seconds spent in each stage so far."""
    found = re.findall(r'timbre_stage_seconds_sum\{stage="(\w+)"\} (\S+)', exposition)
    return {name: float(value) for name, value in found}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verify", description=__doc__)
    parser.add_argument("--calls", type=int, default=200, help="timed calls (default: %(default)s)")
    calls = parser.parse_args().calls
    clip = three_seconds("ada")
    voice = {f"{i}.opus": path.read_bytes() for i, path in enumerate(sorted(DATA.glob("ada-*.opus")))}
    times = []
    with own_server() as http:
        http.post("/enroll", files=[("audio", part) for part in voice.items()], data={"speaker_id": "ada"})

        def verify() -> None:
            answer = http.post("/verify", files={"audio": ("clip.wav", clip)}, data={"speaker_id": "ada"})
            answer.raise_for_status()

        for _ in range(10):
            verify()
        before = stage_seconds(http.get("/metrics").text)
        for _ in range(calls):
            started = time.perf_counter()
            verify()
            times.append((time.perf_counter() - started) * 1000)
        after = stage_seconds(http.get("/metrics").text)
    spent = {name: 1000 * (after.get(name, 0) - before.get(name, 0)) / calls for name in STAGES}
    rest = sum(times) / calls - sum(spent.values())
    settings = Settings()
    embedder = Embedder.load(settings.models_dir / settings.model, precision=settings.precision)
    waveform = prepare(clip, max_duration_s=10).waveform
    bare = []
    for _ in range(50):
        started = time.perf_counter()
        embedder.embed(waveform)
        bare.append((time.perf_counter() - started) * 1000)
    embedder.close()
    figures = {
        "calls": calls,
        "p50_ms": median(times),
        "p95_ms": quantiles(times, n=20)[-1],
        **{f"{name}_ms": value for name, value in spent.items()},
        "http_and_rest_ms": rest,
        "bare_model_ms": median(bare),
        "call_over_model": median(times) / median(bare),
    }
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
