"""Who was enrolled when: for each speaker all that was asked and answered, and what that adds up to."""

import itertools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.soak.linearizability import Operation, unexplained
from tests.soak.speaker import Clips, step

_CHANGING: Final = {"append", "create", "replace", "delete"}
_MOST_UNCERTAIN: Final = 6
"""Calls of unknown outcome after which a speaker is retired: each doubles what may be true."""


@dataclass(eq=False)
class Slot:
    """One speaker while it is in use, and its history."""

    tenant: int
    name: str
    voice: int
    budget: int
    """Calls that it still gets of its own."""
    history: list[Operation] = field(default_factory=list)
    clips: "itertools.count[int]" = field(default_factory=itertools.count, repr=False)
    uncertain: int = 0
    retired: bool = False

    def saw(self, invoked: float, returned: float, kind: str, given: object, result: object) -> None:
        """Note a call that was answered."""
        reads = kind not in _CHANGING
        self.history.append(Operation(invoked, returned, (kind, given, result), reads))

    def lost(self, invoked: float, kind: str, given: object, until: float = math.inf) -> None:
        """Note a change that may have been made, up to some time, or not."""
        self.uncertain += 1
        self.history.append(Operation(invoked, until, (kind, given, None), certain=False))


class Board:
    """The speakers of one tenant that are in use; safe to share between clients."""

    def __init__(self, tenant: int, count: int, budget: int, voices: int) -> None:
        """Begin with `count` new speakers of a tenant, each replaced by the next after `budget` calls."""
        self.tenant: Final = tenant
        self._lock: Final = threading.Lock()
        self._budget, self._voices = budget, voices
        self._numbers: Final = itertools.count()
        self.slots: list[Slot] = []
        """All that ever were."""
        self._by_name: dict[str, Slot] = {}
        self._open: list[Slot] = [self._new() for _ in range(count)]

    def open(self) -> list[Slot]:
        """Those in use."""
        with self._lock:
            return list(self._open)

    def named(self, name: str) -> Slot | None:
        """The speaker of a name that an answer gave."""
        return self._by_name.get(name)

    def take(self, slot: Slot) -> bool:
        """Count a call to a speaker; True for the one who is to delete it for good, as its last call."""
        with self._lock:
            slot.budget -= 1
            if slot.retired or (slot.budget > 0 and slot.uncertain < _MOST_UNCERTAIN):
                return False
            slot.retired = True
            self._open[self._open.index(slot)] = self._new()
            return True

    def _new(self) -> Slot:
        number = next(self._numbers)
        slot = Slot(self.tenant, f"speaker-{self.tenant}-{number}", number % self._voices, self._budget)
        self.slots.append(slot)
        self._by_name[slot.name] = slot
        return slot


# ---------------------------------------------------------------- what it adds up to


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a history; nothing when all lists are empty."""

    name: str
    deleted_returned: list[Operation]
    new_missed: list[Operation]
    clips_lost: list[Operation]
    unexplained: Operation | None
    history: list[Operation]

    @property
    def operations(self) -> int:
        """Calls and observations."""
        return len(self.history)

    @property
    def wrong(self) -> bool:
        """Something is."""
        return bool(self.deleted_returned or self.new_missed or self.clips_lost or self.unexplained)


def judged(slot: Slot) -> Verdict:
    """Judge a history in two ways: by three plain rules, and as a whole."""
    history = sorted(slot.history, key=lambda each: each.invoked)
    changes = [each for each in history if each.what[0] in _CHANGING]
    reads = [each for each in history if each.reads]
    return Verdict(
        slot.name,
        [each for each in reads if _present(each) and _surely_deleted(each, changes)],
        [each for each in reads if not _present(each) and _surely_there(each, changes)],
        [
            each
            for each in reads
            if each.what[0] == "clips" and _present(each) and _sure_clips(each, changes) - each.what[2]
        ],
        unexplained(history, None, step),
        history,
    )


def _present(read: Operation) -> bool:
    return read.what[2] not in (None, False)


def _surely_deleted(read: Operation, changes: Sequence[Operation]) -> bool:
    """A deletion was acknowledged before, and no enrolment can have come after it."""
    before = [each for each in changes if _acknowledged(each, "delete") and each.returned < read.invoked]
    if not before:
        return False
    last = max(before, key=lambda each: each.invoked)
    return not any(_between(other, last, read) for other in changes if other.what[0] != "delete")


def _surely_there(read: Operation, changes: Sequence[Operation]) -> bool:
    """An enrolment was acknowledged before, and no deletion can have come after it."""
    before = _enrolled_before(read, changes)
    if not before:
        return False
    last = max(before, key=lambda each: each.invoked)
    return not any(_between(other, last, read) for other in changes if other.what[0] == "delete")


def _sure_clips(read: Operation, changes: Sequence[Operation]) -> Clips:
    """Clips whose enrolment was acknowledged before, and that nothing can have removed since."""
    removing = [each for each in changes if each.what[0] in {"delete", "replace"}]
    sure: set[int] = set()
    for each in _enrolled_before(read, changes):
        if not any(other is not each and _between(other, each, read) for other in removing):
            sure |= each.what[1]
    return frozenset(sure)


def _enrolled_before(read: Operation, changes: Sequence[Operation]) -> list[Operation]:
    kinds = ("append", "replace", "create")
    return [
        each
        for each in changes
        if each.returned < read.invoked and any(_acknowledged(each, kind) for kind in kinds)
    ]


def _acknowledged(change: Operation, kind: str) -> bool:
    return change.certain and change.what[0] == kind and change.what[2] != "exists"


def _between(other: Operation, change: Operation, read: Operation) -> bool:
    """Whether `other` can have taken effect between a change and a read."""
    return other.returned >= change.invoked and other.invoked <= read.returned
