"""A short soak: several processes on each of two hosts, disturbed all the time."""

from dataclasses import replace

import pytest

from tests.soak.faults import Pace
from tests.soak.hosts import why_no_networks
from tests.soak.report import Plan
from tests.soak.run import soak

SHORT = Plan(
    calls=800,
    calm_calls=60,
    workers=2,
    clients=24,
    tenants=2,
    speakers=4,
    budget=40,
    pace=Pace(rest=(0.2, 1.0), longest_pause=3.0, longest_cut=2.5),
)


@pytest.mark.timeout(400)
def test_two_hosts_agree_whatever_happens_to_them() -> None:
    reason = why_no_networks()
    if reason is not None:
        pytest.skip(reason)
    findings = soak(SHORT, quiet=True)
    assert findings.wrong == []
    assert min(findings.faults["pauses"], findings.faults["cuts"]) > 0
    assert len(findings.verdicts) > SHORT.tenants * SHORT.speakers
    assert sum(verdict.operations for verdict in findings.verdicts) > SHORT.calls


@pytest.mark.timeout(400)
def test_two_servers_on_one_machine_agree_too() -> None:
    """Without network namespaces, so everywhere; connections are cut by the database."""
    findings = soak(replace(SHORT, calls=200, networks=False), quiet=True)
    assert findings.wrong == []
    assert findings.faults["pauses"] > 0
