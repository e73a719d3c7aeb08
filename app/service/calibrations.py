"""Calibrations of a tenant's own: fitted on its confirmed decisions and its gallery, proposed, applied."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from app.errors import TooFewTrials, ValidationFailed
from app.scoring import Calibration, read_calibration
from app.scoring.own_trials import MOST_SPEAKERS, OwnTrials, Takes, gallery_trials
from app.scoring.refit import refit
from app.service.call import Call
from app.service.operating_points import check_promises
from app.service.shelf import Serving
from app.service.trace import stage
from app.store import Repository
from app.store.calibrations import StoredCalibration
from app.store.feedback import Confirmed
from app.store.records import StoredTenant

LEAST_TARGETS: Final = 30
LEAST_IMPOSTORS: Final = 300
"""With fewer, not even a false-match rate of 1 % could be promised (3 / 300)."""
LEAST_SPEAKERS: Final = 10
"""Two for each fold of the cross-validation."""
MOST_FEEDBACK: Final = 20_000
"""Newest confirmed decisions that are fitted on."""
_MOST_READ: Final = 500

_read: Final[dict[str, Calibration]] = {}
"""Calibrations by their id; what stands under an id never changes."""


def calibration_in_force(repository: Repository, tenant: StoredTenant, serving: Serving) -> Calibration:
    """What scores mean to a tenant now: the calibration that was applied, or the model's own.

    The content is read once; which one it is came with the tenant.

    Args:
        repository: The store.
        tenant: Whose.
        serving: The model that serves the tenant; calibrations of other models do not count.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    calibration_id = tenant.calibrations.get(serving.model_id)
    if calibration_id is None:
        return serving.calibration
    found = _read.get(calibration_id)
    if found is None:
        found = read_calibration(repository.get_calibration(tenant.tenant_id, calibration_id).content)
        if len(_read) >= _MOST_READ:
            _read.clear()
        _read[calibration_id] = found
    return found


def propose_calibration(call: Call) -> StoredCalibration:
    """Fit a calibration on what the tenant has, and store it beside the figures of the one in force.

    Nothing changes before somebody applies it.

    Raises:
        TooFewTrials: There are too few comparisons whose truth is known.
        ValidationFailed: The confirmed decisions say that more alike voices are less likely one.
        ConcurrentModification: Others were first every time.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        rows = call.repository.list_feedback(call.tenant_id, call.model_id, MOST_FEEDBACK)
        takes = call.repository.takes_of_gallery(call.tenant_id, call.model_id, MOST_SPEAKERS)
    decisions = _decision_trials(rows)
    gallery = gallery_trials(
        Takes(
            np.array([str(take.speaker_key) for take in takes], np.str_),
            np.stack([take.embedding for take in takes]) if takes else np.zeros((0, 1), np.float32),
            np.array([take.speech_s for take in takes], np.float64),
        ),
        call.settings.required_speech_s,
    )
    trials = OwnTrials.joined([decisions, gallery])
    check_numbers(trials)
    source = (
        f"own trials: {len(decisions.labels)} confirmed decisions and {len(gallery.labels)} comparisons in "
        f"the gallery, {trials.speakers} speakers, cross-validated by speaker"
    )
    try:
        found = refit(trials, call.serving.calibration, call.calibration, source)
    except ValueError as problem:
        raise ValidationFailed("feedback", f"nothing can be fitted on it: {problem}") from problem
    with stage("store"):
        return call.repository.propose_calibration(
            call.tenant_id, call.model_id, found.content, found.figures, by=call.by
        )


def check_numbers(trials: OwnTrials) -> None:
    """Refuse to fit on next to nothing.

    Raises:
        TooFewTrials: One kind of trial, or the speakers, are too few.
    """
    targets = int((trials.labels == 1).sum())
    counted = (
        ("target trials", targets, LEAST_TARGETS),
        ("impostor trials", len(trials.labels) - targets, LEAST_IMPOSTORS),
        ("speakers with target trials", trials.speakers, LEAST_SPEAKERS),
    )
    for kind, found, needed in counted:
        if found < needed:
            raise TooFewTrials(kind, found, needed)


def apply_calibration(call: Call, calibration_id: str) -> StoredCalibration:
    """Put a calibration in force for the tenant, as long as the same model serves.

    Raises:
        CalibrationNotFound: The tenant has none of this id.
        ValidationFailed: It was fitted on another model's similarities.
        UnsupportedRate: The tenant's policy promises a rate that its trials cannot support.
        ConcurrentModification: Others were first every time.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        stored = call.repository.get_calibration(call.tenant_id, calibration_id)
    if stored.model_id != call.model_id:
        problem = f"it was fitted on {stored.model_id}, and {call.model_id} serves"
        raise ValidationFailed("calibration_id", problem)
    check_promises(call, call.policy, read_calibration(stored.content))
    with stage("store"):
        return call.repository.set_calibration(call.tenant_id, calibration_id, "applied", by=call.by)


def retire_calibration(call: Call, calibration_id: str) -> StoredCalibration:
    """Take a calibration out of force: the model's own counts again. A proposal is discarded.

    Raises:
        CalibrationNotFound: The tenant has none of this id.
        ConcurrentModification: Others were first every time.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        return call.repository.set_calibration(call.tenant_id, calibration_id, "retired", by=call.by)


def get_calibration(call: Call, calibration_id: str) -> StoredCalibration:
    """Look at one calibration.

    Raises:
        CalibrationNotFound: The tenant has none of this id.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        return call.repository.get_calibration(call.tenant_id, calibration_id)


def list_calibrations(
    call: Call, *, cursor: str | None, limit: int
) -> tuple[list[StoredCalibration], str | None]:
    """List a tenant's calibrations, the newest first, and the cursor of the next page or None.

    Raises:
        ValidationFailed: The cursor is none that a page gave.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        return call.repository.list_calibrations(call.tenant_id, cursor=cursor, limit=limit)


def _decision_trials(rows: Sequence[Confirmed]) -> OwnTrials:
    """The confirmed decisions that are trials: verifications, and the true speakers of searches."""
    chosen = [
        row
        for row in rows
        if row.similarity is not None
        and row.enrolled_speech_s is not None
        and (row.kind == "verify" or row.same)
    ]
    enrolled = [str(row.speaker_key) for row in chosen]
    # Who the others were was not kept: each is a voice of its own.
    spoke = [key if row.same else f"?{row.decision}" for key, row in zip(enrolled, chosen, strict=True)]
    return OwnTrials(
        labels=np.array([int(row.same) for row in chosen], np.int64),
        similarity=np.array([row.similarity for row in chosen], np.float64),
        enrolled_speech_s=np.array([row.enrolled_speech_s for row in chosen], np.float64),
        speech_s=np.array([row.speech_s for row in chosen], np.float64),
        enroll_speakers=np.array(enrolled, np.str_),
        test_speakers=np.array(spoke, np.str_),
        confirmed=np.ones(len(chosen), bool),
    )
