"""Let commands fail in every way that can be made here, and compare what they leave with what undisturbed ones leave.

    python -m bench.failures [--only PART ...] [--kills 1000] [--seed 0] [-o DIR]

Parts: PARTS. Everything runs on tiny bases and tasks that are made on the spot. Linux, a C compiler and, for most parts, root are
needed; what cannot be done is said. The exit code is 1 where a fault was found.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.failures.faults import preloaded

PARTS = ("kills", "disk-full", "read-only", "stopped", "clock", "no-locks", "memory")


def main() -> int:
    """Carry out the parts that are asked for."""
    description = (__doc__ or "").replace("PARTS", ", ".join(PARTS))
    parser = argparse.ArgumentParser("python -m bench.failures", None, description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", action="append", default=[], choices=PARTS, metavar="PART")
    parser.add_argument(
        "--commands", nargs="*", default=[], metavar="NAME", help="disturb these alone: training, stages, study, fetch ..."
    )
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--most", type=int, default=40, help="moments at which each command meets each other failure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", "-o", type=Path, help="new folder, on a file system in memory if it is to be quick")
    options = parser.parse_args()
    preloaded("bench.failures")
    from bench.failures import disks, kills, leases, mounts
    from bench.failures.attempts import import_all
    from bench.failures.jobs import World, jobs
    from bench.failures.memory import memory
    from bench.failures.outcome import Findings

    refused = mounts.enter()
    root = Path(tempfile.mkdtemp(prefix="failures-")) if options.output is None else options.output
    root.mkdir(parents=True, exist_ok=True)
    findings = Findings()
    world = World.made(root / "world")
    commands = jobs(world)
    import_all([commands[name].begin(root / "warm" / name) for name in ("training", "trimming", "conversion")], root)
    references: dict[str, kills.Reference] = {}
    wanted = set(options.commands or commands)
    wanted |= {job.template.name for name, job in commands.items() if name in wanted and job.template is not None}
    for name, job in commands.items():
        if name not in wanted:
            continue
        if job.template is not None and not job.template.exists():
            shutil.copytree(references[job.template.name].folder, job.template)
        references[name] = kills.Reference(job, root)
        print(f"{name}: {len(references[name].operations)} operations, {references[name].seconds:.1f} s", flush=True)
    if options.commands:
        references = {name: references[name] for name in options.commands}
    drawn = (references, options.most, options.seed, findings)
    carry_out: dict[str, Callable[[], None]] = {
        "kills": lambda: kills.kills(references, options.kills, options.seed, findings),
        "disk-full": lambda: disks.full_disks(*drawn),
        "read-only": lambda: disks.read_only_folders(*drawn),
        "stopped": lambda: leases.stopped(*drawn),
        "clock": lambda: leases.wrong_clocks(*drawn),
        "no-locks": lambda: leases.no_locks(references, findings),
        "memory": lambda: memory(world, root, findings),
    }
    for number in (signal.SIGINT, signal.SIGTERM):  # also where it was started in the background, which ignores the first
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):  # what was counted until then is said
        for part in options.only or PARTS:
            if refused and part in ("disk-full", "read-only"):
                findings.skip(f"{part}: {refused}")
                continue
            start = time.monotonic()
            carry_out[part]()
            print(f"{part}: {time.monotonic() - start:.0f} s", flush=True)
    findings.write(root / "findings.json")
    print(findings.table())
    print("\n".join(findings.faults) or "no fault was found")
    return int(bool(findings.faults))


if __name__ == "__main__":
    sys.exit(main())
