"""How training grows with what the machine has: loader threads, shards, cores, devices.

    python -m benchmarks.train [--corpus manifest.csv] [--noises noise.csv] [--quick]

Every figure stands beside the one of its own group that it is compared with, from the same run. Nothing
else may run on the machine meanwhile. Cores stand in for devices: XLA is told to make two devices of the
CPU, and one device on one core is compared with two devices on two.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a child sets its cores before anything of ours is imported
    from training.corpus import Source

CLIPS, SECONDS, BATCH = 400, 2.0, 32


def loading(corpus: Path | None, noises: Path | None, place: Path, steps: int) -> list[tuple[str, float]]:
    """Clips/s of batches from decoded samples and from shards, with and without augmentation."""
    from threadpoolctl import threadpool_limits

    from training.augment import AugmentConfig, Augmenter
    from training.corpus import load_corpus
    from training.pairs import Balance, Crops, SpeakerBatches, voices_of
    from training.shards import write_shards
    from training.streaming import ShardedBatches, ShardedCrops

    sources = recordings(corpus, place)
    decoded = load_corpus(sources, place / "cache")
    index = write_shards(sources, place / "shards", 1_000_000)
    augmenter = Augmenter(AugmentConfig(simulated_rooms=8), noises, voices_of(decoded))
    figures = []
    for name, change in (("plain crops", None), ("augmented", augmenter)):
        mapped = SpeakerBatches(Crops(decoded, change, SECONDS), Balance(), BATCH, steps)
        mapped[0]  # what happens once, happens here
        for count in (1, 2):
            with threadpool_limits(1), ThreadPoolExecutor(count) as threads, clock() as seconds:
                list(threads.map(mapped.__getitem__, range(steps)))
            figures.append((f"{name}, decoded ahead, {count} threads", steps * BATCH / seconds()))
        for count in (1, 2):
            crops = ShardedCrops(index, change, SECONDS)
            stream = ShardedBatches(crops, Balance(), BATCH, steps, readers=count, buffer=100)
            stream[0]  # fills the shuffle buffer
            with threadpool_limits(1), clock() as seconds:
                for i in range(1, steps + 1):
                    stream[i]
            stream.close()
            figures.append((f"{name}, streamed from shards, {count} readers", steps * BATCH / seconds()))
    return figures


def recordings(corpus: Path | None, place: Path) -> list["Source"]:
    """Some recordings of the corpus, or synthetic ones as Opus files."""
    import numpy as np
    import soundfile

    from training.corpus import read_folder, read_sources
    from training.signals import speech_like

    if corpus is not None:
        sources = read_sources(corpus, "train")
        order = np.random.default_rng(0).permutation(len(sources))[:CLIPS]
        return [sources[i] for i in order]
    for number in range(CLIPS):
        path = place / f"synthetic/s{number % 40}/{number}.opus"
        path.parent.mkdir(parents=True, exist_ok=True)
        sound = speech_like(3.0, speaker=number % 40, take=number)
        soundfile.write(path, sound, 16000, format="OGG", subtype="OPUS")
    return read_folder(place / "synthetic")


@contextmanager
def clock() -> Iterator[Callable[[], float]]:
    """Gives a function that says how many seconds the block took."""
    started = time.perf_counter()
    ended: list[float] = []
    yield lambda: ended[0] - started
    ended.append(time.perf_counter())


def steps_of_a_child(devices: int, steps: int, channels: int) -> None:
    """Prints the clips/s of training steps; in a process of its own: cores and devices are fixed at start."""
    import keras
    import numpy as np

    from training.devices import compiles, share_among_devices
    from training.methods.margin_softmax import classifier
    from training.network import NetworkConfig, build_network
    from training.objectives import MarginSoftmax

    if keras.backend.backend() == "jax":
        share_among_devices(str(devices))
    network = NetworkConfig(channels=channels, aggregate=2 * channels)
    model = classifier(build_network(network), 1000)
    model.compile(keras.optimizers.AdamW(1e-4), MarginSoftmax(), jit_compile=compiles())
    rng = np.random.default_rng(0)
    waveforms = rng.standard_normal((BATCH, int(SECONDS * 16000))).astype(np.float32) / 10
    labels = rng.integers(1000, size=BATCH)
    for _ in range(2):
        model.train_on_batch(waveforms, labels)
    with clock() as seconds:
        for _ in range(steps):
            model.train_on_batch(waveforms, labels)
    print(json.dumps(steps * BATCH / seconds()))


def in_child(backend: str, cores: int, devices: int, steps: int, channels: int) -> float:
    """Clips/s of training steps on some cores, as so many devices."""
    surroundings = os.environ | {
        "KERAS_BACKEND": backend,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    numbers = [str(n) for n in (cores, devices, steps, channels)]
    command = [sys.executable, __file__, "--child", *numbers]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return float(done.stdout.splitlines()[-1])


def table(title: str, figures: list[tuple[str, float]]) -> None:
    """Prints clips/s, each with its ratio to the first of the group."""
    print(f"\n{title}")
    for name, figure in figures:
        print(f"  {name:<48} {figure:9.1f} clips/s   x {figure / figures[0][1]:.2f}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("--corpus", type=Path, help="manifest or folder per speaker (default: synthetic)")
    parser.add_argument("--noises", type=Path, help="CSV of noises and responses")
    parser.add_argument("--quick", action="store_true", help="see that it works; the figures mean nothing")
    parser.add_argument("--child", type=int, nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        cores, *rest = options.child
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
        steps_of_a_child(*rest)
        return
    steps, channels = (2, 16) if options.quick else (12, 256)
    with tempfile.TemporaryDirectory() as place:
        figures = loading(options.corpus, options.noises, Path(place), 2 if options.quick else 60)
    for title, part in (("Loading, plain crops", figures[:4]), ("Loading, augmented", figures[4:])):
        table(title, part)
    cores = min(2, len(os.sched_getaffinity(0)))
    for backend, settings in (
        ("tensorflow", [(1, 1), (cores, 1)]),
        ("jax", [(1, 1), (cores, 1), (cores, 2)]),
    ):
        rows = [
            (f"{core} core(s) as {device} device(s)", in_child(backend, core, device, steps, channels))
            for core, device in settings
        ]
        table(f"Training steps, {backend}, {channels} channels", rows)


if __name__ == "__main__":
    main()
