"""The long run: ``python -m tests.fuzz --seed 1 --count 10000``; ends with code 1 where the contract is broken."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.kinds import kinds
from tests.fuzz.running import fuzz
from tests.fuzz.serving import archive_server


def main() -> int:
    """Run all kinds, or those whose names hold a word, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10_000, help="inputs of each kind")
    parser.add_argument("--only", default="", help="kinds whose names hold this")
    parser.add_argument("--shown", type=int, default=5, help="faults of each kind that are printed")
    options = parser.parse_args()
    failed = False
    with archive_server() as fetch:
        for kind in kinds(fetch):
            if options.only not in kind.name:
                continue
            start = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                outcome = fuzz(kind, count=options.count, seed=options.seed, root=Path(folder) / "root")
            failed |= bool(outcome.faults)
            counts = f"{outcome.accepted} worked, {outcome.refused} refused, {len(outcome.faults)} faults"
            print(f"{kind.name}: {counts}, {time.monotonic() - start:.0f} s", flush=True)
            for number, fault in outcome.faults[: options.shown]:
                print(f"  input {number} of seed {options.seed}: {fault}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
