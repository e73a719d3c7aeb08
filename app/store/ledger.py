"""The erasure ledger: what was erased, in a file outside the database, so that no backup brings it back.

One line for each thing, each ending in a MAC over itself and the MAC before it, made with a key that comes
from the master key: nobody else can write, change or remove a line in the middle. No names: a speaker is the
digest that the audit log knows too.

An erasure is written down and synced before its transaction commits (`plan`); a second line says how that
ended (`done`, `void`). So a deletion that was acknowledged is always in the ledger. A line without an end is
what a crash has left; whether its transaction came through is asked of the database (`app.store.reerasing`).
"""

import contextlib
import errno
import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self, TypeAlias

from sqlalchemy.orm import Session

from app.errors import LedgerDamaged, LedgerUnavailable
from app.failpoints import reach
from app.store.vault import Vault, sync

Act: TypeAlias = Literal["erase", "take-back", "object", "withdraw", "end-key"]
"""Erase a voice, delete single takes, object to be enrolled, take that back, let an API key expire."""
_NOTED: Final = "erasures"
_START: Final = "0" * 64
_LONGEST_WAIT_S: Final = 2.0
"""For the file's lock; a transaction stands open meanwhile."""
_TAIL: Final = 1 << 20
"""More than the longest line: one names at most the takes of one clip."""
_ROOM: Final = 1 << 16
"""Bytes that must be free for the ledger to count as writable."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that must not come back with a backup."""

    entry_id: str
    """The receipt's id, where there is a receipt."""
    at: datetime
    tenant_id: str
    act: Act
    subject: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    """Reason and numbers for the receipt; the subject that a merge gave the takes to; ids of single takes;
    id and end of a key."""

    def as_line(self) -> dict[str, Any]:
        """As it is written."""
        return {**asdict(self), "at": self.at.isoformat()}

    @classmethod
    def of_line(cls, found: dict[str, Any]) -> Self:
        """Read again."""
        return cls(**{**found, "at": datetime.fromisoformat(found["at"])})


class Position(NamedTuple):
    """A place in a ledger."""

    ledger_id: str
    lines: int
    mac: str


@dataclass
class Story:
    """What a ledger says from its first line to its last."""

    entries: dict[str, Entry] = field(default_factory=dict)
    """By id, in their order; those that were rolled back are left out."""
    open: dict[str, Entry] = field(default_factory=dict)
    """Of these it is not said how they ended."""
    last_done: Entry | None = None
    positions: list[str] = field(default_factory=list)
    """The MAC of each line."""
    ledger_id: str = ""

    def take(self, line: dict[str, Any]) -> None:
        """Add what the next line says."""
        self.ledger_id = line.get("ledger", self.ledger_id)
        for each in line.get("plan", ()):
            entry = Entry.of_line(each)
            self.entries[entry.entry_id] = self.open[entry.entry_id] = entry
        for entry_id in line.get("done", ()):
            self.last_done = self.open.pop(entry_id, self.last_done)
        for entry_id in line.get("void", ()):
            self.open.pop(entry_id, None)
            self.entries.pop(entry_id, None)

    def holds(self, position: Position) -> bool:
        """Whether the ledger has come through a place."""
        there = position.ledger_id == self.ledger_id and 0 < position.lines <= len(self.positions)
        return there and self.positions[position.lines - 1] == position.mac

    @property
    def position(self) -> Position | None:
        """The end; None when nothing stands there."""
        return Position(self.ledger_id, len(self.positions), self.positions[-1]) if self.positions else None


class Plan:
    """The erasures of one transaction; nothing is opened when there are none."""

    def __init__(self, ledger: "Ledger | None") -> None:
        self._ledger, self._ids = ledger, list[str]()
        self._file: FileIO | None = None

    def write(self, entries: Sequence[Entry]) -> None:
        """Write and sync what is about to be committed. The commit must be what comes next.

        Raises:
            LedgerUnavailable: It cannot be written; nothing of it stays.
        """
        if entries and self._ledger is not None:
            self._file = self._ledger.locked()
            self._ledger.append(self._file, {"plan": [entry.as_line() for entry in entries]}, sync=True)
            self._ids = [entry.entry_id for entry in entries]
            reach("ledger.written")

    def end(self, *, committed: bool) -> None:
        """Say that the commit came through, and let others write.

        A commit that failed may have come through all the same, when the connection was lost over it: then
        nothing is said here, and the database is asked later.
        """
        if self._file is None or self._ledger is None:
            return
        with self._file:
            if committed and self._ids:
                reach("ledger.committed")
                with contextlib.suppress(LedgerUnavailable):  # it is done, and can be seen to be
                    self._ledger.append(self._file, {"done": self._ids}, sync=False)


class Ledger:
    """A ledger on this machine; safe to share between threads and processes."""

    def __init__(self, path: Path, vault: Vault) -> None:
        """Name the file; it is made, readable by its owner only, with the first erasure."""
        self.path: Final = path
        self._vault: Final = vault
        self._reading: Final = threading.Lock()
        self._story, self._place, self._inode = Story(), 0, -1

    def check_writable(self) -> None:
        """Raises LedgerUnavailable when an erasure could not be written down now."""
        try:
            with self.locked() as file:
                free = os.fstatvfs(file.fileno())
                if free.f_bavail * free.f_frsize < _ROOM:
                    raise LedgerUnavailable("the disk is full")
        except OSError as problem:
            raise LedgerUnavailable(problem.strerror or "it cannot be opened") from problem

    def read(self) -> Story:
        """Everything that it says, checked from the first line on; only what is new is read again.

        Raises:
            LedgerDamaged: A line was changed, removed, or written without the master key.
            LedgerUnavailable: It cannot be read.
        """
        with self._reading:
            if not self.path.exists():
                self._story, self._place, self._inode = Story(), 0, -1
                return self._story
            try:
                with self.locked(os.O_RDONLY) as file:  # so that nobody is between a plan and its end
                    found = os.fstat(file.fileno())
                    if found.st_ino != self._inode or found.st_size < self._place:
                        self._story, self._place, self._inode = Story(), 0, found.st_ino
                    self._go_on(file)
            except OSError as problem:
                raise LedgerUnavailable(problem.strerror or "it cannot be read") from problem
            return self._story

    def conclude(self, *, done: Sequence[str] = (), void: Sequence[str] = ()) -> None:
        """Say how plans ended of which it was not said."""
        if done or void:
            with self.locked() as file:
                self.append(file, {"done": list(done), "void": list(void)}, sync=True)

    def adopt(self, entries: Sequence[Entry]) -> None:
        """Write down what other machines' ledgers hold and this one does not."""
        known = self.read().entries
        fresh = [entry for entry in entries if entry.entry_id not in known]
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(self.locked()) if fresh else None
            for entry in fresh:
                assert file is not None
                line = {"plan": [entry.as_line()], "done": [entry.entry_id]}
                self.append(file, line, sync=entry is fresh[-1])

    def locked(self, flags: int = os.O_RDWR | os.O_CREAT) -> FileIO:
        """The file, locked until it is closed; made when it is missing, unless it is only read.

        It has no buffer: a line that could not be written would wait there and come after all.
        """
        try:
            new = flags & os.O_CREAT and not self.path.exists()
            if new:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = FileIO(os.open(self.path, flags, 0o600), "r+" if flags & os.O_RDWR else "r")
            if new:
                sync(self.path.parent)
        except OSError as problem:
            raise LedgerUnavailable(problem.strerror or "it cannot be opened") from problem
        deadline = time.monotonic() + _LONGEST_WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return file
            except BlockingIOError:
                if time.monotonic() > deadline:
                    file.close()
                    raise LedgerUnavailable("another process holds it") from None
                time.sleep(0.002)
            except OSError as problem:
                file.close()
                raise LedgerUnavailable(problem.strerror or "it cannot be locked") from problem

    def append(self, file: FileIO, content: dict[str, Any], *, sync: bool) -> None:
        """Add a line to the locked file; of one that cannot be written in full nothing stays.

        Raises:
            LedgerUnavailable: It cannot be written.
        """
        end = 0
        try:
            end, before = _last_line(file)
            text = b""
            if end == 0:
                begun = {"ledger": uuid.uuid4().hex, "at": datetime.now(UTC).isoformat()}
                text, before = self._line(begun, _START)
            line, _ = self._line(content, before)
            file.truncate(end)  # what a crash has left of a line
            file.seek(end)
            if file.write(text + line) < len(text + line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync:
                os.fsync(file.fileno())
        except (OSError, ValueError) as problem:
            with contextlib.suppress(OSError):
                file.truncate(end)
            words = getattr(problem, "strerror", None) or "its last line is damaged"
            raise LedgerUnavailable(words) from problem

    def _line(self, content: dict[str, Any], before: str) -> tuple[bytes, str]:
        body = json.dumps(content, sort_keys=True, separators=(",", ":"))
        mac = self._vault.mac("ledger", f"{before}{body}".encode())
        return f"{body} {mac}\n".encode(), mac

    def _go_on(self, file: FileIO) -> None:
        """Read the lines from where the last reading ended."""
        story = self._story
        file.seek(self._place)
        for line in file.readall().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break  # torn by a crash: its transaction has not been committed
            before = story.positions[-1] if story.positions else _START
            body, _, mac = line.rstrip(b"\n").rpartition(b" ")
            if not self._vault.is_mac("ledger", before.encode() + body, mac.decode(errors="replace")):
                raise LedgerDamaged(str(self.path), len(story.positions) + 1)
            story.take(json.loads(body))
            story.positions.append(mac.decode())
            self._place += len(line)


@contextlib.contextmanager
def planning(ledger: Ledger | None) -> Iterator[Plan]:
    """Around a transaction, its commit included; without a ledger nothing is written down."""
    plan = Plan(ledger)
    try:
        yield plan
    except BaseException:
        plan.end(committed=False)
        raise
    plan.end(committed=True)


def note(session: Session, entry: Entry) -> None:
    """Say that the transaction erases something; it is written down when everything else is done."""
    session.info.setdefault(_NOTED, []).append(entry)


def noted_in(session: Session) -> list[Entry]:
    """What was noted of a transaction."""
    return list(session.info.get(_NOTED, ()))


def _last_line(file: FileIO) -> tuple[int, str]:
    """Where the last whole line ends, and its MAC.

    Raises:
        ValueError: There are bytes, and no whole line.
    """
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _TAIL)
    file.seek(start)
    tail = file.read()
    end = tail.rfind(b"\n") + 1
    if end == 0:
        if start:
            raise ValueError("no line ends here")
        return 0, _START
    return start + end, tail[:end].rstrip(b"\n")[-64:].decode("ascii")
