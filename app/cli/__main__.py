"""`python -m app.cli`, the same as `timbre`."""

from app.cli import main

main()
