"""A run that needs more memory than there is: it is recorded as failed with its reason, and the rest of the study goes on."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

from bench.failures.attempts import Attempt
from bench.failures.faults import Fault
from bench.failures.jobs import World
from bench.failures.outcome import Findings
from tests import small_study
from xeric.yaml_io import dump_yaml

__all__ = ["memory"]

_GROUPS = Path("/sys/fs/cgroup/memory")
_LIMIT = 1_000_000_000
_METHODS = "methods={greedy: {name: lora, rank: 3}, small: {name: lora, rank: 2}}"
_TAKING = (
    "import torch, xeric.execution.executor as e; f = e.execute; e.execute = lambda config, folder, **more: "
    "(torch.ones(500_000_000) if 'greedy' in folder.name else None, f(config, folder, **more))[1]"
)
"""Lets the runs of a method take two gigabytes."""


def memory(world: World, root: Path, findings: Findings) -> None:
    """Carry out a study of a greedy and a small method: in this process, and by a worker in a control group."""
    changes = ("seeds=[0]", "tuning=null", "tasks=[one]", "grids={all: {methods: [greedy, small]}}", _METHODS)
    file = root / "greedy.yaml"
    file.write_text(dump_yaml(small_study.plain(world.folder / "tasks", world.folder / "base", *changes)), encoding="utf-8")
    words = ["study", "run", str(file), "--json"]
    _study("memory, limit of the process", [*words, "-o", str(root / "limited")], root / "limited", _limit_process, findings)
    if not os.access(_GROUPS / "cgroup.procs", os.W_OK):
        findings.skip("memory of a control group: there is no memory controller that may be written (version 1)")
        return
    group = _GROUPS / f"xeric-failures-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(_LIMIT), encoding="ascii")

        def join() -> None:
            from xeric.execution import local_workers

            local_workers._CODE = local_workers._CODE.replace("from xeric", f"{_TAKING}; from xeric", 1)
            (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

        words += ["--workers", "1", "-o", str(root / "grouped")]
        _study("memory, control group and a worker", words, root / "grouped", join, findings)
    finally:
        group.rmdir()


def _limit_process() -> None:
    exec(_TAKING, {})
    held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + _LIMIT, held + _LIMIT))


def _study(where: str, words: list[str], folder: Path, before: Callable[[], None], findings: Findings) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    running = Attempt(words, Fault(folder), folder.with_suffix(".log"), before)
    outcome = running.wait(1200)
    if outcome is None:
        findings.fault(where, "hangs")
        return
    findings.clean(where, outcome, (1,))
    failures = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("runs/*/failure.json")}
    records = [path.parent.name for path in folder.glob("runs/*/record.json")]
    print(f"  {where}: failed {failures}, finished {records}", flush=True)
    findings.add(where, failed=len(failures), finished=len(records))
    if len(failures) != 1 or len(records) != 1 or not all("memory" in str(failure) for failure in failures.values()):
        findings.fault(where, f"failures {failures}, records {records}")
