"""SQL, the truth: tables, the database and the repository that holds every statement."""

from app.store.audit import SERVICE, By
from app.store.database import check_schema, make_engine, upgrade
from app.store.records import (
    UNSET,
    Change,
    Changes,
    EnrolledSpeaker,
    Holding,
    NewEnrollment,
    OnExisting,
    SpeakerPage,
    StoredCentroid,
    StoredEnrollment,
    StoredSpeaker,
    Unset,
)
from app.store.repository import Repository
from app.store.vault import Vault

__all__ = [
    "SERVICE",
    "UNSET",
    "By",
    "Change",
    "Changes",
    "EnrolledSpeaker",
    "Holding",
    "NewEnrollment",
    "OnExisting",
    "Repository",
    "SpeakerPage",
    "StoredCentroid",
    "StoredEnrollment",
    "StoredSpeaker",
    "Unset",
    "Vault",
    "check_schema",
    "make_engine",
    "upgrade",
]
