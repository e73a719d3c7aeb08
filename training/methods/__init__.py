"""The published ways of learning an embedding, one file each; `training.method` says what a method is."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import keras

from training.method import Method


def method_names() -> list[str]:
    """Every method, by the name that a recipe's stage gives as its objective."""
    return sorted(module.name for module in iter_modules(__path__))


def method_named(name: str) -> Method:
    """A method by its name.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in method_names():
        raise ValueError(f"unknown objective {name!r}; there are {', '.join(method_names())}")
    method: Method = import_module(f"{__name__}.{name}").METHOD
    return method


def trained_network(path: Path) -> keras.Model:
    """Reads an embedding network (.keras) as it was saved, in the precision in which it was trained."""
    for name in method_names():  # Keras finds a layer by its class only where the class was imported
        method_named(name)
    return keras.saving.load_model(path, compile=False)


def load_network(path: Path) -> keras.Model:
    """Reads an embedding network that `training.train` saved (.keras), whichever method learnt it.

    Whatever precision and backend it was trained in, it computes in float32 here, as its weights are.
    """
    trained = trained_network(path)
    if all(layer.compute_dtype == "float32" for layer in trained.layers):
        return trained
    network = keras.models.clone_model(
        trained,
        clone_function=lambda layer: type(layer).from_config({**layer.get_config(), "dtype": "float32"}),
    )
    network.set_weights(trained.get_weights())
    return network
