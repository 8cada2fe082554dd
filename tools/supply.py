"""What the exact versions of requirements.lock bring along: licences, known vulnerabilities, and a bill of materials.

Usage: ``python tools/supply.py licences`` lists name, version and licence of everything installed;
``python tools/supply.py audit AUDIT_PYTHON`` looks for known vulnerabilities with pip-audit of another environment, and says so
where its database cannot be reached; ``python tools/supply.py sbom FILE`` writes a CycloneDX bill of materials.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

_LOCK = Path(__file__).parents[1] / "requirements.lock"
_UNREACHABLE = re.compile(r"ConnectionError|ConnectTimeout|Max retries|ServiceError|timed out|ProxyError")


def main(arguments: list[str]) -> int:
    """Do what the arguments say, and return the exit code."""
    match arguments:
        case ["licences"]:
            for name, version, licence in installed():
                print(f"{name} {version}: {licence}")
            return 0
        case ["audit", python]:
            return audit(python)
        case ["sbom", file]:
            Path(file).write_text(json.dumps(bill_of_materials(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            return 0
    print(__doc__, file=sys.stderr)
    return 2


def installed() -> Iterator[tuple[str, str, str]]:
    """Yield name, version and licence of every distribution that is installed, by name."""
    rows = {entry.name.lower(): (entry.name, entry.version, licence(entry.metadata)) for entry in metadata.distributions()}
    for key in sorted(rows):
        yield rows[key]


def licence(described: Any) -> str:
    """Return a distribution's licence: its SPDX expression, else its classifiers, else its free text in short."""
    if expression := described.get("License-Expression"):
        return str(expression)
    kinds = [value.rpartition(" :: ")[2] for value in described.get_all("Classifier") or () if value.startswith("License ::")]
    lines = str(described.get("License") or "").strip().splitlines()
    return " or ".join(kinds) or (lines[0][:80] if lines else "not stated")


def bill_of_materials() -> dict[str, Any]:
    """Return what is installed as CycloneDX 1.5; the same versions give the same bytes, as it has no date or serial number."""
    components = [
        {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{re.sub('[-_.]+', '-', name).lower()}@{version}",
            "licenses": [{"license": {"name": stated}}],
        }
        for name, version, stated in installed()
    ]
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components}


def audit(python: str) -> int:
    """Look for known vulnerabilities of the locked versions; return 1 where there is one, and 0 where nobody can be asked."""
    if not Path(python).is_file():
        print("audit: skipped, because there is no environment with pip-audit")
        return 0
    command = [python, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "15"]
    done = subprocess.run(
        [*command, "--format", "json", "--requirement", str(_LOCK)], capture_output=True, text=True, check=False
    )
    if not done.stdout.strip().startswith("{"):
        if "No module named pip_audit" in done.stderr or _UNREACHABLE.search(done.stderr):
            print("audit: skipped, because pip-audit or its database of vulnerabilities cannot be reached from this machine")
            return 0
        print(done.stderr, end="", file=sys.stderr)
        return 1
    return reported(json.loads(done.stdout)["dependencies"])


def reported(packages: list[dict[str, Any]]) -> int:
    """Print what an audit found; a package that its database does not know is no package without vulnerabilities."""
    skipped = [package for package in packages if "skip_reason" in package]
    vulnerable = [package for package in packages if package.get("vulns")]
    for package in vulnerable:
        names = ", ".join(vulnerability["id"] for vulnerability in package["vulns"])
        print(f"audit: {package['name']} {package['version']} has known vulnerabilities: {names}")
    asked = len(packages) - len(skipped)
    print(f"audit: {asked} of {len(packages)} packages looked up, {len(vulnerable)} with known vulnerabilities")
    if skipped:
        print(f"audit: skipped for {len(skipped)}, which the database does not know or cannot be asked about from this machine")
    return int(bool(vulnerable))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
