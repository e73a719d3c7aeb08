"""The checker itself: histories that are known to be good pass, and those that are known to be bad do not."""

import itertools
import math
import random

import pytest

from tests.soak.linearizability import Operation, unexplained
from tests.soak.speaker import step

A, B, AB = frozenset({1}), frozenset({2}), frozenset({1, 2})
NONE: frozenset[int] = frozenset()


def call(
    invoked: float, returned: float, kind: str, given: object = None, result: object = None
) -> Operation:
    reads = kind in {"clips", "count", "member"}
    return Operation(invoked, returned, (kind, given, result), reads)


def maybe(invoked: float, kind: str, given: object = None, until: float = math.inf) -> Operation:
    return Operation(invoked, until, (kind, given, None), certain=False)


ADDED = call(0, 1, "append", A, (1, A))
GOOD = {
    "one after the other": [
        ADDED,
        call(2, 3, "member", result=True),
        call(4, 5, "delete", result=True),
        call(6, 7, "clips", result=None),
    ],
    "a search that overlaps the deletion may still see": [
        ADDED,
        call(2, 9, "delete", result=True),
        call(3, 4, "member", result=True),
        call(10, 11, "member", result=False),
    ],
    "or may see already": [ADDED, call(2, 9, "delete", result=True), call(3, 4, "member", result=False)],
    "two at once, either first": [
        call(0, 9, "append", A, (2, A)),
        call(0, 9, "append", B, (1, B)),
        call(10, 11, "clips", result=AB),
    ],
    "a long reader between two short writers": [
        ADDED,
        call(1.5, 9, "clips", result=None),
        call(2, 3, "delete", result=True),
        call(4, 5, "append", B, (1, B)),
        call(6, 7, "clips", result=B),
    ],
    "cut off, and it happened": [maybe(0, "append", A), call(1, 2, "member", result=True)],
    "cut off, and it never happened": [maybe(0, "append", A), call(1, 2, "member", result=False)],
    "cut off, and it happened late": [
        maybe(0, "append", A),
        call(1, 2, "member", result=False),
        call(3, 4, "delete", result=False),
        call(5, 6, "clips", result=A),
    ],
    "a deletion that was cut off, and sent again": [
        ADDED,
        maybe(2, "delete"),
        call(3, 4, "delete", result=False),
        call(5, 6, "append", B, (1, B)),
    ],
    "only the first creates": [
        call(0, 9, "create", A, "exists"),
        call(0, 9, "create", B, (1, B)),
        call(10, 11, "count", result=1),
    ],
}
BAD = {
    "a stale read after the deletion": [
        ADDED,
        call(2, 3, "delete", result=True),
        call(4, 5, "member", result=True),
    ],
    "a new speaker is not found": [ADDED, call(2, 3, "member", result=False)],
    "a clip is lost": [
        call(0, 9, "append", A, (1, A)),
        call(0, 9, "append", B, (1, B)),
        call(10, 11, "clips", result=B),
    ],
    "a clip is counted twice": [ADDED, call(2, 3, "append", A, (2, A))],
    "a clip is taken twice for new": [call(0, 9, "append", A, (1, A)), call(0, 9, "append", A, (1, A))],
    "a read from the future": [
        call(0, 1, "member", result=True),
        call(2, 3, "append", A, (1, A)),
    ],
    "two readers disagree about the order": [
        call(0, 9, "append", A, (1, A)),
        call(1, 2, "member", result=True),
        call(3, 4, "member", result=False),
    ],
    "two create": [call(0, 9, "create", A, (1, A)), call(0, 9, "create", B, (1, B))],
    "a speaker without clips, who never was": [
        ADDED,
        call(2, 9, "delete", result=True),
        call(3, 4, "clips", result=NONE),
    ],
    "cut off, it happened, and then it had not": [
        maybe(0, "append", A),
        call(1, 2, "member", result=True),
        call(3, 4, "member", result=False),
    ],
    "cut off, and it happened twice": [
        maybe(0, "append", A),
        call(1, 2, "clips", result=A),
        call(3, 4, "delete", result=True),
        call(5, 6, "clips", result=A),
    ],
    "it took effect after the retry had been answered": [
        maybe(0, "append", A, until=4),
        call(1, 4, "append", A, (1, A)),
        call(5, 6, "delete", result=True),
        call(7, 8, "member", result=True),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_can_have_been_is_explained(name: str) -> None:
    assert unexplained(GOOD[name], None, step) is None


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_have_been_is_not(name: str) -> None:
    assert unexplained(BAD[name], None, step) is not None


def by_trying(history: list[Operation]) -> bool:
    """The definition: some order that respects real time explains all results."""
    optional = [each for each in history if not each.certain]
    for kept in itertools.chain.from_iterable(
        itertools.combinations(optional, count) for count in range(len(optional) + 1)
    ):
        calls = [each for each in history if each.certain or each in kept]
        for order in itertools.permutations(calls):
            states: list[object] = [None]
            for place, each in enumerate(order):
                if any(later.returned < each.invoked for later in order[place + 1 :]):
                    states = []
                    break
                states = list(step(states[0], each.what))  # type: ignore[arg-type]
                if not states:
                    break
            if states:
                return True
    return False


def at_random(chance: random.Random) -> list[Operation]:
    """A few calls that overlap, with results that are near the truth and often beside it."""
    history, clips = [], [A, B, AB]
    for _ in range(chance.randint(2, 6)):
        begun = chance.randint(0, 8)
        ended = begun + chance.randint(1, 6)
        kind = chance.choice(["append", "append", "create", "replace", "delete", "clips", "count", "member"])
        given = chance.choice(clips) if kind in {"append", "create", "replace"} else None
        if kind in {"append", "create", "replace", "delete"} and chance.random() < 0.3:
            history.append(maybe(begun, kind, given, chance.choice([math.inf, ended])))
            continue
        state = chance.choice([None, *clips])
        result: object = {"clips": state, "count": state and len(state), "member": state is not None}.get(
            kind
        )
        if given is not None or kind == "delete":
            result = chance.choice([True, False]) if kind == "delete" else (chance.randint(1, 2), given)
        history.append(call(begun, ended, kind, given, result))
    return history


def test_it_agrees_with_the_definition_on_small_histories() -> None:
    chance, verdicts = random.Random(1), []
    for _ in range(3000):
        history = at_random(chance)
        found = unexplained(history, None, step) is None
        assert found == by_trying(history), history
        verdicts.append(found)
    assert 300 < sum(verdicts) < 2700, "the histories are too easy"


def test_a_long_history_of_one_good_register_passes_and_one_wrong_answer_in_it_does_not() -> None:
    chance, state, history, now = random.Random(2), None, [], 0.0
    for number in range(4000):
        now += 1.0
        span = now - chance.random() * 4, now + chance.random() * 4
        kind = chance.choice(["append", "delete", "clips", "member", "member"])
        given = frozenset({number % 40}) if kind == "append" else None
        if kind in {"append", "delete"}:
            before = state
            (state,) = step(state, (kind, given, None))
            told = (len(state), given - (before or NONE)) if given else before is not None  # type: ignore[arg-type]
            history.append(call(*span, kind, given, told))
        else:
            history.append(call(*span, kind, None, state if kind == "clips" else state is not None))
    assert unexplained(history, None, step) is None
    assert unexplained([*history, call(now + 9, now + 10, "member", None, state is None)], None, step)
