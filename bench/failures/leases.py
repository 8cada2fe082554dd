"""Processes that are stopped beyond their lease while another takes the work over, and clocks that are hours off."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from bench.failures.attempts import Attempt
from bench.failures.faults import Action, Fault
from bench.failures.kills import Reference
from bench.failures.outcome import Findings

__all__ = ["no_locks", "stopped", "wrong_clocks"]

_HOURS = 7200


def elsewhere() -> None:
    """Let this process be one of another machine, as locks and unfinished files see it."""
    from xeric import locks, processes

    name = f"another machine {processes.machine()}"
    processes.machine = lambda: name
    locks.machine = processes.machine
    processes._machine_mark.cache_clear()


def stopped(references: dict[str, Reference], most: int, seed: int, findings: Findings) -> None:
    """Stop a process at an operation, let one of another machine take over after the lease, and continue the first.

    The lease is not waited for: the file of the lock is made old. Only commands that hold a lock all the time are stopped.
    """
    draw = random.Random(seed)
    for name in ("training", "stages", "study", "fetch", "conversion"):
        if name in references:
            moments = range(1, len(references[name].operations) + 1)
            for at in draw.sample(moments, min(most, len(moments))):
                _stopped_at(references[name], at, findings)


def _stopped_at(reference: Reference, at: int, findings: Findings) -> None:
    where = f"stopped beyond its lease/{reference.job.name}"
    arguments, before = reference.begin(), len(findings.faults)
    sleeper = Attempt(arguments, Fault(reference.target, Action.STOP, at), reference.log.with_suffix(".sleeper"))
    if not sleeper.until_stopped():
        return
    _age_locks(reference.target)
    taker = Attempt(arguments, Fault(reference.target), reference.log, elsewhere)
    outcome = taker.wait(300)
    if outcome is None:
        taker.signal(signal.SIGKILL)
        findings.fault(where, "the other process hangs")
    else:
        findings.clean(where, outcome)
    findings.add(where, stopped=1)
    sleeper.signal(signal.SIGCONT)
    ended = sleeper.wait(300)
    if ended is None:
        sleeper.signal(signal.SIGKILL)
        findings.fault(where, "the continued process hangs")
    else:
        findings.clean(where, ended, (0, 1))
    # What the stopped process was writing, or held, is not known to be dead on the other machine: the next command removes it.
    findings.clean(where, reference.attempt(arguments))
    findings.compare(where, reference.now(), reference.left)
    if len(findings.faults) > before:
        print(f"  stopped at operation {at} ({reference.operations[:at][-12:]})", flush=True)


def _age_locks(folder: Path) -> None:
    old = time.time() - 1000
    for path in folder.rglob("locks/*"):
        if path.suffix[1:].isdecimal():
            os.utime(path, (old, old))


def wrong_clocks(references: dict[str, Reference], most: int, seed: int, findings: Findings) -> None:
    """Give processes clocks that are two hours ahead or behind: of one another, and of the files."""
    draw = random.Random(seed)
    for name in ("training", "fetch"):
        if name not in references:
            continue
        reference, where = references[name], f"clock two hours off/{name}"
        for _ in range(most):
            off, at = draw.choice((-_HOURS, _HOURS)), draw.randint(1, len(reference.operations))
            arguments = reference.begin()
            killed = reference.attempt(arguments, Fault(reference.target, Action.KILL, at))
            findings.clean(where, reference.attempt(arguments, Fault(reference.target, clock=off)))
            findings.add(where, resumed=int(killed.killed))
            findings.compare(where, reference.now(), reference.left)
            _respected(reference, at, off, draw.random() < 0.5, findings)


def _respected(reference: Reference, at: int, off: int, other_machine: bool, findings: Findings) -> None:
    """A process whose clock is off waits for a live one that holds the lock, on its own machine and on another."""
    where = f"clock two hours off/{reference.job.name}"
    arguments = reference.begin()
    holder = Attempt(arguments, Fault(reference.target, Action.STOP, at), reference.log.with_suffix(".holder"))
    if not holder.until_stopped():
        return
    held = [path for path in reference.target.rglob("locks/*") if path.suffix[1:].isdecimal()]
    done = [*reference.target.glob("*/record.json"), *reference.target.glob("home/bases/*")]  # then nobody need wait
    other = Attempt(arguments, Fault(reference.target, clock=off), reference.log, elsewhere if other_machine else None)
    if other.wait(8) is not None and held and not done:
        findings.fault(
            where, f"a lock that is held was not respected at operation {at}, {'another' if other_machine else 'this'} machine"
        )
    holder.signal(signal.SIGCONT)
    for process in (holder, other):
        outcome = process.wait(300) if _runs(process) else None
        if outcome is not None:
            findings.clean(where, outcome)
    findings.add(where, respected=1)
    findings.compare(where, reference.now(), reference.left)


def _runs(process: Attempt) -> bool:
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def no_locks(references: dict[str, Reference], findings: Findings) -> None:
    """Carry every command out on a file system whose locks (`flock`, `fcntl`) always fail."""
    for name, reference in references.items():
        where = f"file system without locks/{name}"
        arguments = reference.begin()
        findings.clean(where, reference.attempt(arguments, Fault(reference.target, no_locks=True)))
        findings.add(where, commands=1)
        findings.compare(where, reference.now(), reference.left)
