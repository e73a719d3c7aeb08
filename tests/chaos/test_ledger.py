"""The ledger tells what must be there, what must not, and what may be."""

import random
from collections.abc import Mapping, Sequence

import pytest

from app.failpoints import POINTS
from tests.chaos.crashes import plans
from tests.chaos.ledger import Op, Read, Writer, faults
from tests.chaos.state import doubles


def op(name: str, kind: str, start: float, end: float | None, status: int | None = 201, *clips: str) -> Op:
    found = Op(name, kind, "ada", list(clips), started=start, ended=end, private=True)
    found.status = status if end is not None else None
    found.ids = {clip: f"id of {clip}" for clip in clips} if found.done else {}
    return found


def has(*clips: str) -> dict[str, dict[str, str]]:
    return {"ada": {clip: f"id of {clip}" for clip in clips}}


ADDED = op("a", "append", 1, 2, 201, "x", "y")
OPEN = op("b", "append", 3, None, None, "z", "w")
DELETED = op("c", "delete", 5, 6, 204)
DELETING = op("d", "delete", 5, None)
REPLACED = op("e", "replace", 5, 6, 201, "v")
REFUSED = op("f", "append", 3, 4, 409, "r")


@pytest.mark.parametrize(
    ("ops", "found"),
    [
        ([ADDED], has("x", "y")),
        ([ADDED, OPEN], has("x", "y")),
        ([ADDED, OPEN], has("x", "y", "z", "w")),
        ([ADDED, DELETED], {}),
        ([ADDED, OPEN, DELETED], {}),
        ([ADDED, OPEN, DELETED], has("z", "w")),  # it can have come after the deletion
        ([ADDED, DELETING], {}),
        ([ADDED, DELETING], has("x", "y")),
        ([ADDED, REPLACED], has("v")),
        ([ADDED, REFUSED], has("x", "y")),
    ],
)
def test_what_may_be(ops: Sequence[Op], found: Mapping[str, Mapping[str, str]]) -> None:
    assert list(faults(ops, found)) == []


@pytest.mark.parametrize(
    ("ops", "found", "kind"),
    [
        ([ADDED], {}, "lost"),
        ([ADDED], has("x"), "half"),
        ([ADDED, OPEN], has("x", "y", "z"), "half"),
        ([ADDED, DELETED], has("x", "y"), "back"),
        ([ADDED, DELETED], has(), "back"),
        ([ADDED, REPLACED], has("v", "x", "y"), "back"),
        ([ADDED, REPLACED], has("x", "y"), "lost"),
        ([REFUSED], has("r"), "back"),
        ([ADDED], has("x", "y", "nobody's"), "strange"),
        ([ADDED], {"ada": {"x": "id of x", "y": "another id"}}, "strange"),
    ],
)
def test_what_may_not(ops: Sequence[Op], found: Mapping[str, Mapping[str, str]], kind: str) -> None:
    assert kind in {fault.split(":")[0] for fault in faults(ops, found)}


def test_a_take_that_was_taken_back_is_gone_alone() -> None:
    back = op("t", "take_back", 5, 6, 204)
    back.target = "x"
    assert list(faults([ADDED, back], has("y"))) == []
    assert [fault.split(":")[0] for fault in faults([ADDED, back], has("x", "y"))] == ["back"]


def test_a_request_is_carried_out_once() -> None:
    entries = [("speaker.enrolled", "a/1", 2)]
    assert list(doubles([ADDED], entries, ["ada"])) == []
    assert list(doubles([OPEN], [], [])) == []
    assert len(list(doubles([ADDED], [*entries, ("speaker.enrolled", "a/2", 1)], []))) == 1
    assert len(list(doubles([ADDED], [], []))) == 1
    assert len(list(doubles([], [], ["ada", "ada"]))) == 1
    assert len(list(doubles([DELETED], [("voice.erased", "c/1", 1), ("voice.erased", "c/2", 1)], []))) == 1


def test_what_was_written_is_read_as_it_comes(tmp_path) -> None:
    writer, read, path = Writer(tmp_path / "ledger"), Read(), tmp_path / "ledger"
    asked = Op("a", "append", "ada", ["x"])
    writer.intent(asked)
    place = read.take(path, 0)
    assert read.ops["a"].ended is None
    asked.status, asked.ids = 201, {"x": "1"}
    writer.end(asked)
    writer.note("replayed", "a")
    with path.open("ab") as file:
        file.write(b'{"what": "int')  # it is being written
    assert read.take(path, place) == path.stat().st_size - len(b'{"what": "int')
    assert read.ops["a"].done
    assert read.ops["a"].ids == {"x": "1"}
    assert read.notes["replayed"] == ["a"]


def test_every_point_has_its_turn() -> None:
    found = plans("postgresql", 20, random.Random(1), sorted(POINTS))
    assert {plan.point for plan in found} == {None, *POINTS}
    assert sum(plan.point is None for plan in found) == 20
    assert {plan.way for plan in plans("sqlite", 200, random.Random(1), [])} == {"service", "decoders"}
