"""Whether a history of calls to one object could have come from one copy of it, each call at one instant.

The search goes over the history in time and keeps every state in which the object can be, together with
those pending calls that have taken effect already. A call takes effect no later than its return, and no
earlier than something needs it: what could also happen later is left for later. Calls that only read take
effect as soon as a state agrees with them, since no other call can tell.

Source: Wing and Gong, Testing and Verifying Concurrent Objects, Journal of Parallel and Distributed Computing
17 (1993); Lowe, Testing for Linearizability, Concurrency and Computation 29 (2017), section 4.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

State: TypeAlias = Hashable
Step: TypeAlias = Callable[[Any, Any], Sequence[Any]]
"""From a state and what a call did to the state after it, in a list; empty where it cannot have been so."""
_Held: TypeAlias = tuple[State, frozenset[int]]
"""A state, and which pending calls have had their effect."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call as its client saw it."""

    invoked: float
    returned: float
    """`inf` when the client does not know whether it ever took effect."""
    what: Any
    """Arguments and result, for the step function."""
    reads: bool = False
    """It changes nothing."""
    certain: bool = True
    """It took effect. An uncertain one may have done so up to `returned`, or never."""


def unexplained(history: Iterable[Operation], start: State, step: Step) -> Operation | None:
    """Look for an order of the calls that explains all results.

    Most calls of unknown outcome need not have taken effect, and each that may have doubles the work. So it
    is tried without them first, then with those that get furthest, and with all of them before it gives up.

    Args:
        history: The calls to one object, in any order.
        start: Its state before them.
        step: What the object does.

    Returns:
        None when there is one; else the first call, by time of return, that nothing explains.
    """
    calls = list(history)
    chosen = [call for call in calls if call.certain]
    doubtful = [call for call in calls if not call.certain and not call.reads]
    stuck = _stuck(chosen, start, step)
    while stuck is not None and doubtful:
        tried = [(_stuck([*chosen, call], start, step), call) for call in doubtful if _before(call, stuck)]
        further = [(at, call) for at, call in tried if at is None or at.returned > stuck.returned]
        if not further:
            return _stuck([*chosen, *doubtful], start, step)
        stuck, call = max(further, key=lambda each: math.inf if each[0] is None else each[0].returned)
        chosen.append(call)
        doubtful.remove(call)
    return stuck


def _before(call: Operation, other: Operation) -> bool:
    return call.invoked <= other.returned


def _stuck(calls: Sequence[Operation], start: State, step: Step) -> Operation | None:
    """The first call, by time of return, that no order explains."""
    events = [(call.invoked, 0, number) for number, call in enumerate(calls)]
    events += [(call.returned, 1, number) for number, call in enumerate(calls) if call.returned < math.inf]
    search = _Search(calls, start, step)
    for _, returns, number in sorted(events):
        if not returns:
            search.invoke(number)
        elif not search.retire(number):
            return calls[number]
    return None


class _Search:
    def __init__(self, calls: Sequence[Operation], start: State, step: Step) -> None:
        self._calls: Final = calls
        self._step: Final = step
        self._reads: Final[set[int]] = set()
        self._writes: Final[set[int]] = set()
        self._held: set[_Held] = {(start, frozenset())}

    def invoke(self, number: int) -> None:
        """A call begins."""
        if not self._calls[number].reads:
            self._writes.add(number)
            return
        self._reads.add(number)
        self._held = {(state, done | self._agreeing(state, [number])) for state, done in self._held}

    def retire(self, number: int) -> bool:
        """A call ends, and with it the time in which it can take effect; False when it cannot have."""
        call = self._calls[number]
        after: set[_Held] = set() if call.certain else set(self._held)
        for held in self._held:
            after |= self._until(number, held)
        (self._reads if call.reads else self._writes).discard(number)
        self._held = self._least({(state, done - {number}) for state, done in after})
        return bool(self._held)

    def _until(self, number: int, held: _Held) -> set[_Held]:
        """Every way on from here, just far enough for a call to have taken effect."""
        found: set[_Held] = set()
        seen, waiting = {held}, [held]
        while waiting:
            here = waiting.pop()
            if number in here[1]:
                found.add(here)
                continue
            new = self._next(here) - seen
            seen |= new
            waiting.extend(new)
        return found

    def _next(self, held: _Held) -> set[_Held]:
        state, done = held
        found = set()
        for number in self._writes - done:
            for new in self._step(state, self._calls[number].what):
                if new == state and not self._calls[number].certain:
                    continue  # it could as well not have been
                found.add((new, done | {number} | self._agreeing(new, self._reads - done)))
        return found

    def _agreeing(self, state: State, reads: Iterable[int]) -> frozenset[int]:
        return frozenset(number for number in reads if self._step(state, self._calls[number].what))

    def _least(self, held: set[_Held]) -> set[_Held]:
        """Without those that have used up more uncertain calls than another, to the same end."""
        groups: dict[_Held, list[frozenset[int]]] = {}
        for state, done in held:
            used = frozenset(number for number in done if not self._calls[number].certain)
            groups.setdefault((state, done - used), []).append(used)
        return {
            (state, done | used)
            for (state, done), several in groups.items()
            for used in several
            if not any(other < used for other in several)
        }
