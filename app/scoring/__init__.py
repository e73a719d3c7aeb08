"""Embeddings → similarity → score → decision: pure functions, no state, no audio."""

from app.scoring.calibration import (
    FORMAT,
    Calibration,
    load_calibration,
    parse_calibration,
    read_calibration,
)
from app.scoring.decisions import (
    IdentifyDecision,
    VerifyDecision,
    identify_decision,
    leads,
    verify_decision,
)
from app.scoring.points import Det, Interval, OperatingPoint, SearchPoint
from app.scoring.score import ScoreModel
from app.scoring.vectors import Candidate, centroid, cosine, distance, unit

__all__ = [
    "FORMAT",
    "Calibration",
    "Candidate",
    "Det",
    "IdentifyDecision",
    "Interval",
    "OperatingPoint",
    "ScoreModel",
    "SearchPoint",
    "VerifyDecision",
    "centroid",
    "cosine",
    "distance",
    "identify_decision",
    "leads",
    "load_calibration",
    "parse_calibration",
    "read_calibration",
    "unit",
    "verify_decision",
]
