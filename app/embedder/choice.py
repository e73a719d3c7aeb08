"""Which file of a model serves: what the manifest says of this machine, then what a clock says."""

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from app.arrays import SAMPLE_RATE_HZ
from app.embedder.golden import Golden
from app.embedder.loading import LoadedFile, load_file
from app.embedder.manifest import Manifest, ModelFile, Precision
from app.embedder.session import CPU, Provider
from app.errors import ModelInvalid

CLEARLY_FASTER: Final = 1.2
"""How many times as fast the file in eight bits must be. It gives up a little accuracy, so it has to pay, and
no machine should serve one file today and the other tomorrow for a hair's breadth."""
MEASURED_S: Final = 3.0
"""Length of the waveform on which the files are timed, in seconds."""
_WARM_UPS, _ROUNDS = 2, 9
_log = logging.getLogger("timbre.model")


@dataclass(frozen=True)
class Choice:
    """Which file serves, and why."""

    precision: Precision
    reason: str
    """For people."""
    measured_ms: Mapping[Precision, float]
    """Median milliseconds of each file for one waveform of `MEASURED_S`; empty when none was timed."""


def load_fastest(
    folder: Path, manifest: Manifest, golden: Golden, provider: Provider
) -> tuple[LoadedFile, Choice]:
    """Load the file that serves best here; one line of the log says which, and why.

    On CUDA that is float32. On a processor both files are loaded and timed, if the manifest counts the
    processor among those that the file in eight bits serves: without the instructions for it ONNX Runtime
    falls back to others whose 16-bit sums saturate, which costs accuracy that no clock shows.

    Args:
        folder: The model's folder.
        manifest: Its manifest.
        golden: Its golden vectors.
        provider: Where the model may run.

    Returns:
        The file that serves, and the choice.

    Raises:
        ModelInvalid: The float32 file is refused. When the other one is, float32 serves, with a warning.
        ProviderUnavailable: CUDA was asked for and does not run.
    """
    exact = load_file(folder, manifest, golden, "fp32", provider)
    file, small, level = manifest.file_of("int8"), None, logging.INFO
    if exact.provider != CPU:
        choice = Choice("fp32", f"float32 is the file for {exact.provider}", {})
    elif file is None:
        choice = Choice("fp32", "the model has no file in eight bits", {})
    elif not serves_processor(file, processor_flags()):
        choice = Choice("fp32", f"{file.file} is for {file.suits}, which this processor is not known as", {})
    else:
        try:
            small = load_file(folder, manifest, golden, "int8", "cpu")
            choice = choose(_measure(exact, small, golden))
        except ModelInvalid as refused:
            level = logging.WARNING
            choice = Choice("fp32", f"{file.file} cannot be used: {refused.problem}", {})
    _log.log(level, "%s serves in %s: %s", manifest.model_id, choice.precision, choice.reason)
    return small if small and choice.precision == "int8" else exact, choice


def choose(measured_ms: Mapping[Precision, float]) -> Choice:
    """Take the file in eight bits only where it is clearly faster.

    Args:
        measured_ms: Median milliseconds of both files for the same waveform.

    Returns:
        The choice.
    """
    ratio = measured_ms["fp32"] / measured_ms["int8"]
    reason = (
        f"{MEASURED_S:g} s of audio take {measured_ms['fp32']:.1f} ms in fp32 and {measured_ms['int8']:.1f} "
        f"in int8, which serves where it is {CLEARLY_FASTER:g} times as fast; here it is {ratio:.2f}"
    )
    return Choice("int8" if ratio >= CLEARLY_FASTER else "fp32", reason, dict(measured_ms))


def milliseconds(runs: Mapping[Precision, Callable[[], object]]) -> dict[Precision, float]:
    """Time each run; they take turns, so that a busy moment hits all alike.

    Args:
        runs: What to call, by precision.

    Returns:
        Median milliseconds of each.
    """
    times: dict[Precision, list[float]] = {precision: [] for precision in runs}
    for turn in range(_WARM_UPS + _ROUNDS):
        for precision, run in runs.items():
            started = time.perf_counter()
            run()
            if turn >= _WARM_UPS:
                times[precision].append(1000 * (time.perf_counter() - started))
    return {precision: median(found) for precision, found in times.items()}


def serves_processor(file: ModelFile, flags: frozenset[str]) -> bool:
    """Whether the manifest counts a processor with these flags among those that the file serves."""
    return any(machine == "cpu" or machine.removeprefix("cpu:") in flags for machine in file.serves)


def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What the processor can do, in the words of Linux, such as "avx512_vnni"; empty elsewhere."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def _measure(exact: LoadedFile, small: LoadedFile, golden: Golden) -> dict[Precision, float]:
    longest = max((waveform for waveform, _ in golden), key=len)
    waveform = np.resize(longest, int(MEASURED_S * SAMPLE_RATE_HZ))
    return milliseconds({"fp32": lambda: exact.run(waveform), "int8": lambda: small.run(waveform)})
