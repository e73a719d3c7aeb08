"""Embeddings → similarity → score → decision: pure functions, no state, no audio."""

from app.scoring.calibration import (
    FORMAT,
    Calibration,
    Interval,
    OperatingPoint,
    ScoreModel,
    load_calibration,
)
from app.scoring.decisions import IdentifyDecision, VerifyDecision, identify_decision, verify_decision
from app.scoring.vectors import Candidate, centroid, cosine, distance, unit

__all__ = [
    "FORMAT",
    "Calibration",
    "Candidate",
    "IdentifyDecision",
    "Interval",
    "OperatingPoint",
    "ScoreModel",
    "VerifyDecision",
    "centroid",
    "cosine",
    "distance",
    "identify_decision",
    "load_calibration",
    "unit",
    "verify_decision",
]
