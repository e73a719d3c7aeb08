"""Timbre, the service: bytes → waveform → embedding → score → decision."""
