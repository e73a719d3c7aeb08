"""`timbre`, the command line: serve, and do what a person would script.

Exit codes: 0 accept, match or done; 1 reject, unknown or ambiguous; 2 an error. `serve` ends with 1 when the
set-up cannot serve, `demo` when a decision was wrong.
"""

from app.cli.commands import cli, main

__all__ = ["cli", "main"]
