"""Lock-out: verifications that fail in a row close the door for a while, longer each time.

Source: NIST SP 800-63B, sections 5.2.2 and 5.2.3: a limit on consecutive failed attempts, then a delay
that grows with every further one.
"""

import math
from datetime import UTC, datetime

from app.errors import VerificationLocked
from app.scoring import VerifyDecision
from app.service.call import Call
from app.service.trace import stage
from app.store.records import StoredCentroid


def refuse_locked(call: Call, known: StoredCentroid) -> None:
    """Go on unless the speaker is locked.

    Raises:
        VerificationLocked: Too many verifications failed, and the time to wait is not over.
    """
    if call.policy.lockout_after and known.lock.locked_until is not None:
        left_s = (known.lock.locked_until - datetime.now(UTC)).total_seconds()
        # More than the longest lock is left only when the clock was set back since.
        if 0 < left_s <= call.settings.lockout_longest_s:
            raise VerificationLocked(known.speaker_id, known.lock.failures, math.ceil(left_s))


def count_decision(call: Call, known: StoredCentroid, decision: VerifyDecision) -> None:
    """Count a failure, or forgive those before after a success.

    Raises:
        ConcurrentModification: Others were first every time.
        StorageUnavailable: The database does not answer.
    """
    if not call.policy.lockout_after:
        return
    settings = call.settings
    with stage("store"):
        if decision == "reject":
            call.repository.count_failure(
                known.speaker_key,
                call.policy.lockout_after,
                settings.lockout_first_s,
                settings.lockout_longest_s,
            )
        elif known.lock.failures:
            call.repository.forgive_failures(known.speaker_key)
