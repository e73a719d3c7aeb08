"""How long the model takes for 3 s of speech on one thread, in float32 and in eight bits.

    python -m benchmarks.embed [--calls 100]

The peak of a matrix product on the same thread in the same run says what the machine can do, so that
the share of it can be compared between machines. The two files take turns, call by call.
"""

import argparse
import json
import time
from statistics import median

import numpy as np
from threadpoolctl import threadpool_limits

from app.embedder import Embedder
from app.settings import Settings
from training.signals import speech_like

SIZE = 1024


def milliseconds(calls: int, *works: object) -> list[float]:
    """Median milliseconds of each work; they take turns, so that a busy moment hits all alike."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(calls):
        for kept, work in zip(times, works, strict=True):
            started = time.perf_counter()
            work()  # type: ignore[operator]
            kept.append((time.perf_counter() - started) * 1000)
    return [median(kept) for kept in times]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embed", description=__doc__)
    parser.add_argument("--calls", type=int, default=100, help="timed calls (default: %(default)s)")
    calls = parser.parse_args().calls
    settings = Settings()
    folder = settings.models_dir / settings.model
    exact = Embedder.load(folder, provider="cpu", precision="fp32")
    small = Embedder.load(folder, provider="cpu", precision="int8")
    waveform = speech_like(3.0)
    matrix = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)
    with threadpool_limits(1):
        fp32_ms, int8_ms, product_ms = milliseconds(
            calls, lambda: exact.embed(waveform), lambda: small.embed(waveform), lambda: matrix @ matrix
        )
    exact.close()
    small.close()
    figures = {
        "fp32_ms": fp32_ms,
        "int8_ms": int8_ms,
        "fp32_over_int8": fp32_ms / int8_ms,
        "peak_gflops": 2 * SIZE**3 / product_ms / 1e6,
    }
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
