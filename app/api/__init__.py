"""HTTP: requests → use cases → responses. Nothing here decides anything about voices."""

from app.api.paths import register

register()  # before any route compiles its path
