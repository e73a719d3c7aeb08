"""Memory, processes and connections while a run lasts."""

import time
from collections.abc import Sequence
from typing import Final

import psycopg

from tests.soak.hosts import Host, resident_mb

_WARM_S: Final = 60.0
"""What a worker has taken by then it needs."""


class Watch:
    """Looks at memory and connections every few seconds."""

    def __init__(self, hosts: Sequence[Host], database: str) -> None:
        self._hosts, self._database = hosts, database
        self._seen: dict[int, float] = {}
        self._first: dict[int, float] = {}
        self.most_connections = 0

    def look(self) -> None:
        """Take the measures of this moment."""
        for host in self._hosts:
            for pid in host.workers():
                since = time.monotonic() - self._seen.setdefault(pid, time.monotonic())
                if since > _WARM_S:
                    self._first.setdefault(pid, resident_mb(pid))
        try:
            self.most_connections = max(self.most_connections, self.connections())
        except psycopg.OperationalError:  # none is left for us
            self.most_connections += 1

    def connections(self) -> int:
        """Connections of the hosts to the database."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        with psycopg.connect(self._database, autocommit=True, connect_timeout=5) as connection:
            found = connection.execute(query).fetchone()
        return int(found[0]) - 1 if found else 0

    def growth(self) -> tuple[float, float]:
        """First and last memory of the living worker that grew most, in MB."""
        living = {pid for host in self._hosts for pid in host.workers()} & self._first.keys()
        pairs = [(self._first[pid], resident_mb(pid)) for pid in living]
        return max(pairs, key=lambda pair: pair[1] - pair[0], default=(0.0, 0.0))
