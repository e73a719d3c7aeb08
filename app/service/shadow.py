"""Shadow scoring: a model on trial decides about the same recordings as the one that serves, unseen.

It never slows or fails a call: it begins when the answer has gone, has a thread of its own, and is dropped
when there is too much to do. What it finds is counted and compared; recordings and embeddings are not kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from app.errors import ModelServing, ReenrollmentRequired, SpeakerNotEnrolled
from app.service.calibrations import calibration_in_force
from app.service.call import Call
from app.service.decided import Decided
from app.service.listening import Heard
from app.service.trace import stage
from app.store.shadow import ShadowRow

_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOST_DIFFERING: Final = 50
_WITHOUT: Final = "no_template"
"""Outcome that says that the speaker is not enrolled under the model."""


@dataclass(frozen=True)
class Outcome:
    """What a model made of a recording."""

    decision: str
    named: str | None
    """The speaker that it named or accepted; None for nobody."""
    score: float | None
    """Of the best candidate; None when there was none."""


@dataclass(frozen=True)
class Errors:
    """Wrong decisions among those that somebody has confirmed or corrected."""

    wrong: int
    known: int
    """Decisions of which it is known whether they were right."""


@dataclass(frozen=True)
class ShadowReport:
    """How the model on trial compares with the one that serves."""

    model: str
    model_id: str
    shadowing: bool
    """It is on trial now."""
    decisions: int
    agreeing: int
    """Both named the same speaker, or both nobody."""
    without_template: int
    """The speaker is not enrolled under the model on trial."""
    outcomes: dict[str, int]
    """How often each pair `accept/reject` came up: the serving model's, then the other's."""
    scores: tuple[tuple[float, float, float], ...]
    """Quantile, the serving model's score there, the other's."""
    serving_errors: Errors
    shadow_errors: Errors
    differing: tuple[ShadowRow, ...]
    """The newest decisions in which they differ."""


def shadow(
    call: Call, heard: Heard, decided: Decided, live: Outcome, again: Callable[[Call, Heard], Outcome]
) -> None:
    """Let the tenant's model on trial, if there is one, decide about a recording as well; returns at once.

    Args:
        call: The call that was answered.
        heard: The recording.
        decided: The decision.
        live: Its outcome.
        again: Makes the decision in another call, from what that call's model heard; writes nothing.
    """
    name = call.tenant.shadow_model
    if name is not None and name != call.serving.name:
        call.parts.aside.offer(lambda: _score(call, name, heard, decided, live, again))


def _score(
    call: Call,
    name: str,
    heard: Heard,
    decided: Decided,
    live: Outcome,
    again: Callable[[Call, Heard], Outcome],
) -> None:
    serving = call.parts.shelf.serving(name)
    calibration = calibration_in_force(call.repository, call.tenant, serving)
    silent = call.policy.model_copy(update={"audit_decisions": False})
    other = replace(call, serving=serving, calibration=calibration, policy=silent)
    embedding = serving.embedder.embed(heard.utterance.waveform)
    try:
        found = again(other, Heard(heard.utterance, embedding))
    except (ReenrollmentRequired, SpeakerNotEnrolled):
        found = Outcome(_WITHOUT, None, None)
    row = ShadowRow(
        decision=decided.number,
        kind=decided.kind,
        outcome=live.decision,
        shadow_outcome=found.decision,
        score=live.score,
        shadow_score=found.score,
        same_speaker=found.decision == live.decision and found.named == live.named,
        decided_at=decided.at,
    )
    call.repository.add_shadow_score(call.tenant_id, decided.model_id, serving.model_id, row)


def start_shadow(call: Call, name: str) -> ShadowReport:
    """Put a model on trial for the tenant, in the place of the one that was.

    Raises:
        ModelNotFound: There is no model of this name.
        ModelNotReady: Its folder is refused.
        ModelServing: It is the one that serves.
        StorageUnavailable: The database does not answer.
    """
    serving = call.parts.shelf.checked(name)
    if serving.model_id == call.model_id:
        raise ModelServing(name)
    _change(call, name, "model.shadowed")
    return _report(call, name, serving.model_id, shadowing=True)


def stop_shadow(call: Call, name: str) -> ShadowReport:
    """End the trial of a model; what was counted stays for 30 days. It is no error when there was none.

    Raises:
        ModelNotFound: There is no model of this name.
        ModelNotReady: Its folder is refused.
        StorageUnavailable: The database does not answer.
    """
    serving = call.parts.shelf.checked(name)
    if call.tenant.shadow_model == name:
        _change(call, None, "model.unshadowed")
    return _report(call, name, serving.model_id, shadowing=False)


def shadow_report(call: Call, name: str) -> ShadowReport:
    """Compare what a model on trial decided with what was answered.

    Raises:
        ModelNotFound: There is no model of this name.
        ModelNotReady: Its folder is refused.
        StorageUnavailable: The database does not answer.
    """
    serving = call.parts.shelf.checked(name)
    return _report(call, name, serving.model_id, shadowing=call.tenant.shadow_model == name)


def _change(call: Call, name: str | None, action: str) -> None:
    with stage("store"):
        call.repository.change_tenant(call.tenant_id, {"shadow_model": name}, action=action, by=call.by)


def _report(call: Call, name: str, shadow_id: str, *, shadowing: bool) -> ShadowReport:
    with stage("store"):
        rows = call.repository.shadow_scores(call.tenant_id, call.model_id, shadow_id)
    outcomes: dict[str, int] = {}
    for row in rows:
        pair = f"{row.outcome}/{row.shadow_outcome}"
        outcomes[pair] = outcomes.get(pair, 0) + 1
    differing = [row for row in rows if not row.same_speaker]
    return ShadowReport(
        model=name,
        model_id=shadow_id,
        shadowing=shadowing,
        decisions=len(rows),
        agreeing=len(rows) - len(differing),
        without_template=sum(row.shadow_outcome == _WITHOUT for row in rows),
        outcomes=outcomes,
        scores=_quantiles(rows),
        serving_errors=_errors([row.correct for row in rows]),
        shadow_errors=_errors([was_right(row) for row in rows]),
        differing=tuple(differing[:_MOST_DIFFERING]),
    )


def _quantiles(rows: Sequence[ShadowRow]) -> tuple[tuple[float, float, float], ...]:
    pairs = [
        (row.score, row.shadow_score)
        for row in rows
        if row.score is not None and row.shadow_score is not None
    ]
    if not pairs:
        return ()
    found = np.quantile(np.asarray(pairs, dtype=np.float64), _QUANTILES, axis=0)
    return tuple((q, float(live), float(other)) for q, (live, other) in zip(_QUANTILES, found, strict=True))


def _errors(right: Sequence[bool | None]) -> Errors:
    known = [each for each in right if each is not None]
    return Errors(wrong=known.count(False), known=len(known))


def was_right(row: ShadowRow) -> bool | None:
    """Whether the model on trial was right, as far as feedback on the live decision tells, or None."""
    if row.correct is None or row.shadow_outcome == _WITHOUT:
        return None
    if row.same_speaker:
        return row.correct
    # One of two things is true of a verification, so who differs from what is wrong is right. Of a search
    # that was answered wrongly, a different answer may be wrong as well.
    return not row.correct if row.kind == "verify" or row.correct else None
