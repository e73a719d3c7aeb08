"""HTTP: requests → use cases → responses. Nothing here decides anything about voices."""
