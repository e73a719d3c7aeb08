"""Write down what the service is made of, in CycloneDX: each pinned package, its version and licence.

The image has its own at /srv/timbre/sbom.json, made while it is built from what is installed in it.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file; returns 1 when something that is pinned is not installed as pinned."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", type=Path, default=Path("requirements.lock"))
    parser.add_argument("--out", type=Path, default=Path("build/sbom.json"))
    args = parser.parse_args(arguments)
    document, pins = described(), pinned(args.lock.read_text(encoding="utf-8"))
    parts = {name_of(part["name"]): part for part in document["components"]}
    wrong = [name for name, version in pins.items() if parts.get(name, {}).get("version") != version]
    if wrong:
        sys.stderr.write(f"not installed as pinned: {', '.join(wrong)}\n")
        return 1
    document["components"] = [parts[name] for name in sorted(pins)]
    kept = {part["bom-ref"] for part in document["components"]}
    document["dependencies"] = [
        {**each, "dependsOn": [ref for ref in each.get("dependsOn", ()) if ref in kept]}
        for each in document["dependencies"]
        if each["ref"] in kept
    ]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"{args.out}: {len(pins)} packages\n")
    return 0


def described() -> dict[str, Any]:
    """Everything that is installed beside this interpreter, as CycloneDX."""
    assert find_spec("cyclonedx_py") is not None, "make setup installs it"
    command = [sys.executable, "-m", "cyclonedx_py", "environment", sys.executable]
    command += ["--output-format", "JSON", "--no-validate", "--output-reproducible"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pinned(lock: str) -> dict[str, str]:
    """Version by name of what a lock file installs on this machine."""
    found = {}
    for line in lock.splitlines():
        if line and not line.lstrip().startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate():
                found[name_of(pin.name)] = next(iter(pin.specifier)).version
    return found


def name_of(package: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", package).lower()


if __name__ == "__main__":
    sys.exit(main())
