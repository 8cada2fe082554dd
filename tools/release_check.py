"""Build the wheel and the source distribution twice, and compare their bytes.

Usage: ``python tools/release_check.py FOLDER`` in an environment with hatchling; FOLDER gets both builds. The date in the
archives is ``SOURCE_DATE_EPOCH`` where that is set, else hatchling's own fixed one.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path


def main(folder: Path) -> int:
    """Build twice, print the SHA-256 of each file, and return 1 where two differ."""
    builds = [_built(folder / name) for name in ("first", "second")]
    for name, digest in builds[0].items():
        print(f"{digest}  {name}")
    if len(builds[0]) != 2 or builds[0] != builds[1]:
        print(f"the two builds differ: {builds}", file=sys.stderr)
        return 1
    return 0


def _built(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files of one build, by name."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)], check=True, stdout=subprocess.DEVNULL
    )
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
