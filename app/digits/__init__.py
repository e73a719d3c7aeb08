"""Waveform → how well it says the asked digits: a small model, and the alignment of what it hears."""

from app.digits.hearer import DigitHearer, HeardDigits

__all__ = ["DigitHearer", "HeardDigits"]
