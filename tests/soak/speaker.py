"""A speaker as one object: the clips that are enrolled, or nobody."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

Clips: TypeAlias = frozenset[int]
Speaker: TypeAlias = Clips | None
"""None: there is no such speaker."""
What: TypeAlias = tuple[str, object, object]
"""Kind of the call, its argument, and its result; None as the result of a change that nobody was told of."""
NOBODY: None = None


def step(state: Speaker, what: What) -> Sequence[Speaker]:
    """The state after a call, in a list that is empty where the call's result does not fit the state."""
    kind, given, result = what
    if kind in _READS:
        return [state] if _READS[kind](state) == result else []
    after, answer = _CHANGES[kind](state, given)
    return [after] if result is None or result == answer else []


def _append(state: Speaker, clips: Clips) -> tuple[Speaker, object]:
    """Result: how many clips there are now, and which of those sent were new."""
    after = (state or frozenset()) | clips
    return after, (len(after), clips - (state or frozenset()))


def _create(state: Speaker, clips: Clips) -> tuple[Speaker, object]:
    return (clips, (len(clips), clips)) if state is None else (state, "exists")


def _replace(_state: Speaker, clips: Clips) -> tuple[Speaker, object]:
    return clips, (len(clips), clips)


def _delete(state: Speaker, _given: object) -> tuple[Speaker, object]:
    """Result: whether there was somebody, as the receipt tells."""
    return None, state is not None


_CHANGES: Final[dict[object, Callable[[Speaker, Any], tuple[Speaker, object]]]] = {
    "append": _append,
    "create": _create,
    "replace": _replace,
    "delete": _delete,
}
_READS: Final[dict[object, Callable[[Speaker], object]]] = {
    "clips": lambda state: state,
    "count": lambda state: None if state is None else len(state),
    "member": lambda state: state is not None,
}
