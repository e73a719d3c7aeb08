"""The ONNX Runtime session: which provider really runs it, and how many threads it takes."""

import contextlib
import ctypes
import io
import logging
import sys
from collections.abc import Iterator
from typing import Any, Final, Literal

import onnxruntime as ort

from app.errors import ProviderUnavailable

Provider = Literal["auto", "cpu", "cuda"]

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
_CUDA_OPTIONS: Final = {
    # Every length is a new shape: an exhaustive search for the fastest kernel would run each time.
    "cudnn_conv_algo_search": "HEURISTIC",
    # TF32 keeps 10 bits of the mantissa: too few for a Fourier transform under a logarithm.
    "use_tf32": "0",
}
QUIET, _WARNING = 4, 2
_log = logging.getLogger(__name__)


def open_session(data: bytes, provider: Provider) -> Any:
    """Open a session over the bytes of a model.

    Args:
        data: The bytes of an ONNX file that keeps its weights inside.
        provider: "cpu"; "cuda", which nothing replaces; "auto": CUDA when it works, else the CPU.

    Returns:
        The onnxruntime.InferenceSession; its first provider is the one that runs.

    Raises:
        ProviderUnavailable: "cuda" was asked for and something else would run.
    """
    if provider == "cpu":
        return _open(data, [CPU])
    if not _cuda_device():
        # Asking ONNX Runtime for CUDA on a machine without it prints errors that look like a failed start.
        if provider == "cuda":
            raise ProviderUnavailable("CUDA", CPU)
        return _open(data, [CPU])
    _preload_libraries()
    try:
        with _silence() if provider == "auto" else contextlib.nullcontext():
            session = _open(data, [(CUDA, _CUDA_OPTIONS), CPU])
        actual = session.get_providers()[0]
    except Exception as error:
        _log.warning("CUDA failed: %s", error)
        actual = CPU
    if actual == CUDA:
        return session
    if provider == "cuda":
        raise ProviderUnavailable("CUDA", actual)
    _log.warning("There is a CUDA device, but its libraries do not work: the model runs on the CPU.")
    return _open(data, [CPU])


def _open(data: bytes, providers: list[Any]) -> Any:
    options = ort.SessionOptions()
    # One thread per recording: several recordings at once are the parallelism of a server.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Patterns of allocation are remembered per input shape, and hardly two recordings share one.
    options.enable_mem_pattern = False
    session = ort.InferenceSession(data, options, providers=providers, enable_fallback=0)
    # A run that failed on CUDA must fail, not start again on the CPU.
    session.disable_fallback()
    return session


def _cuda_device() -> bool:
    """Whether this build of ONNX Runtime knows CUDA and the driver has a device."""
    if CUDA not in ort.get_available_providers():
        return False
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def _preload_libraries() -> None:
    """Load CUDA and cuDNN from their Python packages, which are on no library path."""
    with contextlib.redirect_stdout(io.StringIO()) as said:  # it prints what it does not find
        ort.preload_dlls()
    if said.getvalue():
        _log.info("CUDA libraries: %s", said.getvalue().strip())


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    ort.set_default_logger_severity(QUIET)
    try:
        yield
    finally:
        ort.set_default_logger_severity(_WARNING)
