"""What runs in a process of its own: ``python -m bench.speed.engine JOB.json RESULT.json``."""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from bench.speed.jobs import Job, Result, Skipped

PARTS = {
    "prepare": "rows:prepare",
    "machine": "machine:measure",
    "train": "training:train",
    "decode": "decoding:decode",
    "score": "scoring:score",
    "study": "study:carry_out",
}


def main(given: Path, returned: Path) -> None:
    job: Job = json.loads(given.read_text(encoding="utf-8"))
    module, _, name = PARTS[job["part"]].partition(":")
    try:
        work: Callable[[Job], Result] = getattr(importlib.import_module(f"bench.speed.{module}"), name)
        result = work(job)
        result["peak_bytes"] = peak_bytes()
    except Skipped as error:
        result = {"skipped": str(error)}
    except ImportError as error:
        result = {"skipped": f"{error.name or error} is not installed or cannot be loaded here"}
    except Exception as error:  # noqa: BLE001  # whatever a library of the other side raises
        traceback.print_exc()
        result = {"failed": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"}
    temporary = returned.with_suffix(".part")
    temporary.write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")
    temporary.replace(returned)
    # Some libraries leave threads behind that would keep the process; everything is written.
    sys.stderr.flush()
    os._exit(0)


def peak_bytes() -> int:
    """The largest resident memory that this process has had."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        if line := re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE):
            return int(line[1]) * 1024
    except OSError:
        pass
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
