"""The tables, one file for each thing that they are about."""

from app.store.tables.access import ApiKey, Tenant
from app.store.tables.columns import Base
from app.store.tables.decisions import AppliedCalibration, Challenge, Feedback, ShadowScore
from app.store.tables.duties import AuditEntry, AuditHead, Erasure, OptOut
from app.store.tables.voices import Centroid, Enrollment, Gallery, HeardClip, Lockout, Recording, Speaker
from app.store.tables.work import Job, JobRow, Replay

__all__ = [
    "ApiKey",
    "AppliedCalibration",
    "AuditEntry",
    "AuditHead",
    "Base",
    "Centroid",
    "Challenge",
    "Enrollment",
    "Erasure",
    "Feedback",
    "Gallery",
    "HeardClip",
    "Job",
    "JobRow",
    "Lockout",
    "OptOut",
    "Recording",
    "Replay",
    "ShadowScore",
    "Speaker",
    "Tenant",
]
