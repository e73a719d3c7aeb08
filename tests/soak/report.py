"""What a run is asked for, and what it has shown: one line of figures, and all that must not be."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.soak.client import Tally
from tests.soak.faults import Pace
from tests.soak.history import Verdict

_AWAY: Final = frozenset({"503", "504"})


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how hard."""

    calls: int = 100_000
    calm_calls: int = 1_000
    """Further calls at the end, without faults: none of them may fail."""
    seed: int = 1
    hosts: int = 2
    workers: int = 4
    clients: int = 48
    tenants: int = 4
    speakers: int = 5
    """Of each tenant that are in use at the same time."""
    budget: int = 60
    """Calls of its own that a speaker gets before it is deleted for good."""
    networks: bool = True
    pace: Pace = field(default_factory=Pace)
    folder: Path | None = None
    """For logs and what is wrong; a temporary one otherwise."""


@dataclass(kw_only=True)
class Findings:
    """What the run has shown."""

    plan: Plan
    tally: Tally
    calm: Tally
    faults: dict[str, int]
    verdicts: list[Verdict]
    in_sql: list[str]
    """What is wrong in the database."""
    seconds: float
    most_connections: int
    connections_left: int
    memory_mb: tuple[float, float]
    """Of the worker that grew most: early and at the end."""
    not_serving: list[str]
    left_over: int
    """Processes that outlived their server."""

    @property
    def deleted_returned(self) -> int:
        return sum(len(verdict.deleted_returned) for verdict in self.verdicts)

    @property
    def new_missed(self) -> int:
        return sum(len(verdict.new_missed) for verdict in self.verdicts)

    @property
    def clips_lost(self) -> int:
        return sum(len(verdict.clips_lost) for verdict in self.verdicts)

    @property
    def not_linearizable(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.unexplained is not None]

    @property
    def wrong(self) -> list[str]:
        """Everything that must not be, in words."""
        said = [*self.tally.wrong, *self.calm.wrong, *self.in_sql, *self.not_serving]
        calm = {answer for answer in self.calm.answers if answer[0] == "5" or answer.startswith("408")}
        said += [f"without faults: {self.calm.answers[answer]} times {answer}" for answer in sorted(calm)]
        if self.calm.cut_off:
            said.append(f"without faults: {self.calm.cut_off} calls were not answered")
        for name in ("deleted_returned", "new_missed", "clips_lost"):
            if getattr(self, name):
                said.append(f"{name}: {getattr(self, name)}")
        said += [f"{each.name}: nothing explains {each.unexplained}" for each in self.not_linearizable]
        if self.left_over:
            said.append(f"{self.left_over} processes outlived their server")
        return said

    def line(self) -> str:
        """All in one line."""
        counted = self.tally.answers.items()
        away = sum(count for answer, count in counted if answer[:3] in _AWAY)
        other = sum(count for answer, count in counted if answer[0] == "5") - away
        early, late = self.memory_mb
        good = len(self.verdicts) - len(self.not_linearizable)
        faults = self.faults
        return (
            f"soak: {self.tally.calls + self.calm.calls:,} calls in {self.seconds / 60:.0f} min, "
            f"{self.plan.hosts} hosts × {self.plan.workers} workers"
            f"{'' if self.plan.networks else ' (one network)'}, "
            f"{faults.get('pauses', 0)} pauses, {faults.get('cuts', 0)} cuts, "
            f"{faults.get('kills', 0)} kills; "
            f"{self.deleted_returned} deleted returned, {self.new_missed} new missed, "
            f"{self.clips_lost} clips lost, {good:,} of {len(self.verdicts):,} histories "
            f"({sum(verdict.operations for verdict in self.verdicts):,} operations) linearizable, "
            f"{other} 5xx other than 503 and 504 ({away:,} of those), {self.tally.cut_off:,} cut off, "
            f"{len(self.calm.wrong) + self.calm.cut_off} of the last {self.calm.calls:,} calls failed; "
            f"at most {self.most_connections} connections, {self.connections_left} at the end, "
            f"memory {early:.0f} → {late:.0f} MB, {self.left_over} processes left over, "
            f"{len(self.wrong)} wrong"
        )
