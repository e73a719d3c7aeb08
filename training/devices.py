"""What a training run computes on, and in which precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras


def compiles() -> bool:
    """Whether steps are compiled: JAX without it would run every operation by itself.

    TensorFlow runs the same graph slower through XLA on a CPU (75 against 54 clips/s).
    """
    return bool(keras.backend.backend() == "jax")


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Layers that are made inside compute in this precision, unless they name their own.

    Args:
        policy: `float32`, `mixed_bfloat16` or `mixed_float16`; weights are float32 in all of them.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def share_among_devices(which: str) -> list[str]:
    """Lets every batch from now on be shared among devices: each computes its part, gradients are summed.

    Call it before a network is made. Every batch must be a multiple of the number of devices.

    Args:
        which: `all`, or how many.

    Returns:
        The devices, by Keras's names.

    Raises:
        ValueError: Keras runs on a backend that cannot do this, or there are fewer devices.
    """
    if keras.backend.backend() != "jax":
        raise ValueError(
            f"several devices need KERAS_BACKEND=jax, this is {keras.backend.backend()}; "
            "what JAX trains, TensorFlow exports"
        )
    there: list[str] = keras.distribution.list_devices()
    count = len(there) if which == "all" else int(which)
    if not 0 < count <= len(there):
        raise ValueError(f"{which} devices were asked for, there are {len(there)}: {', '.join(there)}")
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=there[:count]))
    return there[:count]
