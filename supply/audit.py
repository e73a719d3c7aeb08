"""Hold the pinned dependencies against the public databases of vulnerabilities: `make audit`.

Exit code 0: every one was judged, and none has a known vulnerability. 1: one has. 3: not all could be judged,
because no database was reachable or none knows a package: then nothing is known, and nothing is called well.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

SERVICES: Final = ("pypi", "osv")
"""Databases of advisories; a package counts as judged when one of them knows it."""
CLEAR, VULNERABLE, UNKNOWN = 0, 1, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit each lock file; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("locks", nargs="*", type=Path, default=[Path("requirements.lock")])
    parser.add_argument("--osv-url", help="another address of the OSV database")
    args = parser.parse_args(arguments)
    outcomes = [judge(lock, [report(lock, each, args.osv_url) for each in SERVICES]) for lock in args.locks]
    return VULNERABLE if VULNERABLE in outcomes else max(outcomes)


def report(lock: Path, service: str, osv_url: str | None = None) -> dict[str, Any] | None:
    """What pip-audit says of a lock file by one database; None when it could not ask it."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip"]
    command += ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off"]
    command += ["--osv-url", osv_url] if osv_url and service == "osv" else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        sys.stderr.write(f"{service} could not be asked: {last}\n")
        return None
    return found


def judge(lock: Path, reports: Sequence[dict[str, Any] | None]) -> int:
    """Say in words what the reports of one lock file come to; returns the exit code.

    pip-audit itself calls a package that its database does not know skipped, and the whole well.
    """
    judged: set[str] = set()
    pinned: set[str] = set()
    vulnerable: dict[str, str] = {}
    for each in [found for found in reports if found is not None]:
        for package in each["dependencies"]:
            pinned.add(package["name"])
            if "skip_reason" not in package:
                judged.add(package["name"])
            for hole in package.get("vulns", ()):
                fixed = ", ".join(hole.get("fix_versions") or ["none yet"])
                vulnerable[hole["id"]] = (
                    f"{package['name']} {package['version']}: {hole['id']} (fixed in: {fixed})"
                )
    for line in vulnerable.values():
        sys.stdout.write(f"{line}\n")
    if vulnerable:
        sys.stdout.write(f"{lock}: {len(vulnerable)} known vulnerabilities\n")
        return VULNERABLE
    if not judged or judged != pinned:
        asked = len(pinned) or "all"
        sys.stdout.write(
            f"{lock}: NOT AUDITED: {len(judged)} of {asked} packages could be judged; no database of "
            "advisories that knows the others was reachable. Run it where pypi.org or api.osv.dev is.\n"
        )
        return UNKNOWN
    sys.stdout.write(f"{lock}: {len(judged)} packages, no known vulnerability\n")
    return CLEAR


if __name__ == "__main__":
    sys.exit(main())
