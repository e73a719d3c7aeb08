"""How long 3 s of speech take from waveform to embedding on one thread: both files, a peer, the machine.

    python -m benchmarks.embed [--calls 100] [--peer-python peer/bin/python] [--check]

Everything takes turns, call by call, so that a busy moment hits all alike, and the ratios can be compared
between machines; on a busy machine "least" says more than the median. "alone" leaves out the front end that
makes spectra of the waveform. The peaks are products of two matrices of 1024 × 1024: float32 by NumPy,
uint8 × int8 by ONNX Runtime; a share is that of the same arithmetic. The limits are those of the project for
one thread of a current x86 server.

The peer, Resemblyzer 0.1.4, runs under an interpreter of its own, which benchmarks/requirements.txt says how
to make.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor
from threadpoolctl import threadpool_limits

from app.arrays import Waveform
from app.embedder import Embedder, Precision, read_manifest
from app.settings import Settings
from training.quantize import front_end_nodes
from training.signals import speech_like

SIZE = 1024
LIMITS_MS: dict[Precision, float] = {"fp32": 30.0, "int8": 11.0}
PEER = Path(__file__).with_name("peer") / "resemblyzer_turns.py"
Turn = Callable[[], dict[str, float]]
"""One call of something: milliseconds by name."""


@dataclass
class Parts:
    """A model file, cut at the logarithm of its front end."""

    front: onnx.ModelProto
    network: onnx.ModelProto
    cut: str


def load(folder: Path, precision: Precision) -> onnx.ModelProto:
    """The graph of one file of the model."""
    (name,) = (entry.file for entry in read_manifest(folder).files if entry.precision == precision)
    return onnx.load(str(folder / name))


def session(model: onnx.ModelProto) -> Any:
    """A session on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def timed(name: str, work: Callable[[], object]) -> Turn:
    """A turn that times one call."""

    def turn() -> dict[str, float]:
        started = time.perf_counter()
        work()
        return {name: 1000 * (time.perf_counter() - started)}

    return turn


def cut(model: onnx.ModelProto) -> Parts:
    """Cut a graph in two behind the logarithm of its spectrum."""
    front_end = set(front_end_nodes(model.graph))
    logarithms = (node for node in model.graph.node if node.op_type == "Log" and node.name in front_end)
    name = next(logarithms).output[0]
    # The type of an inner value has to be known where it becomes an input.
    known = {value.name for value in model.graph.value_info}
    if name not in known:
        model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    whole = Extractor(model)
    return Parts(whole.extract_model(["waveform"], [name]), whole.extract_model([name], ["embedding"]), name)


def operations(model: onnx.ModelProto, inputs: dict[str, Any]) -> int:
    """Multiplications and additions in the products of a float32 graph, from the shapes of a real run."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(
        helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None) for node in nodes
    )
    results = session(watched).run(None, inputs)
    total = 0
    for node, result in zip(nodes, results, strict=True):
        shape = weights[node.input[1]]
        # A kernel is (out, in / groups, time …), a matrix (in, out): what is summed for one output.
        summed = int(np.prod(shape[1:])) if node.op_type == "Conv" else shape[-2]
        total += 2 * int(result.size) * summed
    return total


def file_turns(folder: Path, precision: Precision, waveform: Waveform, stack: ExitStack) -> list[Turn]:
    """Turns of one file of the model: end to end as the service calls it, and the network alone."""
    embedder = Embedder.load(folder, provider="cpu", precision=precision)
    stack.callback(embedder.close)
    parts = cut(load(folder, precision))
    features = session(parts.front).run(None, {"waveform": waveform[None]})[0]
    alone = session(parts.network)
    return [
        timed(f"{precision}_ms", lambda: embedder.embed(waveform)),
        timed(f"{precision}_alone_ms", lambda: alone.run(None, {parts.cut: features})),
    ]


def peak_turns() -> list[Turn]:
    """Turns of a product of two matrices, in float32 and in eight bits."""
    random = np.random.default_rng(0)
    matrix = random.standard_normal((SIZE, SIZE)).astype(np.float32)
    left = random.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    right = random.integers(-127, 128, (SIZE, SIZE), dtype=np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["left", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", TensorProto.UINT8, [SIZE, SIZE])],
        [helper.make_tensor_value_info("product", TensorProto.INT32, [SIZE, SIZE])],
        [numpy_helper.from_array(right, "right")],
    )
    product = session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    return [
        timed("product_fp32_ms", lambda: matrix @ matrix),
        timed("product_int8_ms", lambda: product.run(None, {"left": left})),
    ]


@contextmanager
def peer_turn(python: str, waveform: Waveform) -> Iterator[Turn | None]:
    """A turn of Resemblyzer in a process of its own; None where that interpreter has no Resemblyzer."""
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    look = [python, "-c", "import resemblyzer"]
    if subprocess.run(look, capture_output=True, check=False).returncode:
        yield None
        return
    with (
        tempfile.TemporaryDirectory() as place,
        subprocess.Popen(
            [python, "-W", "ignore", str(PEER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=one_thread,
        ) as child,
    ):
        ask, answer = child.stdin, child.stdout
        assert ask is not None
        assert answer is not None
        np.save(Path(place) / "waveform.npy", waveform)
        print(Path(place) / "waveform.npy", file=ask, flush=True)
        print(f"peer: Resemblyzer {answer.readline().strip()}", flush=True)

        def turn() -> dict[str, float]:
            print("go", file=ask, flush=True)
            whole, alone = map(float, answer.readline().split())
            return {"resemblyzer_ms": whole, "resemblyzer_alone_ms": alone}

        yield turn
        ask.close()


def measure(turns: list[Turn], calls: int) -> dict[str, float]:
    """Median milliseconds by name, and the least as `…_least`, after three rounds to warm up."""
    rounds = [{name: ms for turn in turns for name, ms in turn().items()} for _ in range(calls + 3)][3:]
    medians = {name: median(each[name] for each in rounds) for name in rounds[0]}
    return medians | {f"{name}_least": min(each[name] for each in rounds) for name in rounds[0]}


def count(folder: Path, waveform: Waveform) -> tuple[int, int]:
    """Operations from waveform to embedding, and those of the network alone; both files have the same."""
    model = load(folder, "fp32")
    parts = cut(load(folder, "fp32"))
    features = session(parts.front).run(None, {"waveform": waveform[None]})[0]
    return operations(model, {"waveform": waveform[None]}), operations(parts.network, {parts.cut: features})


def table(figures: dict[str, float], whole: int, alone: int) -> dict[str, float]:
    """Print what was measured; returns the figures with rates and shares."""
    product = 2 * SIZE**3 / 1e6
    peaks = {each: product / figures[f"product_{each}_ms"] for each in LIMITS_MS}
    print(f"{'3 s on one thread':20}{'ms':>8}{'least':>8}{'alone':>8}{'of peak':>9}{'alone':>8}   limit")
    shares = {}
    for name, limit in LIMITS_MS.items():
        ms, alone_ms = figures[f"{name}_ms"], figures[f"{name}_alone_ms"]
        shares[f"{name}_of_peak"] = whole / ms / 1e6 / peaks[name]
        shares[f"{name}_alone_of_peak"] = alone / alone_ms / 1e6 / peaks[name]
        verdict = f"{'PASS' if ms <= limit else 'FAIL'} at {limit:g} ms"
        share, alone_share = shares[f"{name}_of_peak"], shares[f"{name}_alone_of_peak"]
        least = figures[f"{name}_ms_least"]
        print(f"{name:20}{ms:8.1f}{least:8.1f}{alone_ms:8.1f}{share:9.0%}{alone_share:8.0%}   {verdict}")
    if "resemblyzer_ms" in figures:
        times = [figures[f"resemblyzer_{each}"] for each in ("ms", "ms_least", "alone_ms")]
        print(f"{'Resemblyzer':20}" + "".join(f"{ms:8.1f}" for ms in times))
        for name in LIMITS_MS:
            shares[f"resemblyzer_over_{name}"] = figures["resemblyzer_ms"] / figures[f"{name}_ms"]
    shares |= {"fp32_over_int8": figures["fp32_ms"] / figures["int8_ms"], "gflop": whole / 1e9}
    shares |= {f"peak_{name}_gops": peak for name, peak in peaks.items()}
    return {**figures, **shares}


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.embed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--calls", type=int, default=100, help="timed calls (default: %(default)s)")
    parser.add_argument(
        "--peer-python",
        default=sys.executable,
        metavar="PYTHON",
        help="interpreter that has Resemblyzer, run as a process of its own because its requirements are "
        "others than Timbre's (default: this one)",
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 when a limit is missed")
    options = parser.parse_args()
    settings = Settings()
    folder = settings.models_dir / settings.model
    waveform = speech_like(3.0)
    with threadpool_limits(1), ExitStack() as stack:
        turns = [turn for name in LIMITS_MS for turn in file_turns(folder, name, waveform, stack)]
        turns += peak_turns()
        peer = stack.enter_context(peer_turn(options.peer_python, waveform))
        if peer is None:
            print("no Resemblyzer to compare with: benchmarks/requirements.txt says how to install it")
        figures = measure([*turns, peer] if peer else turns, options.calls)
    figures = table(figures, *count(folder, waveform))
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
    missed = any(figures[f"{name}_ms"] > limit for name, limit in LIMITS_MS.items())
    return int(options.check and missed)


if __name__ == "__main__":
    sys.exit(main())
