"""Kills: before and within each file operation of a command, and at random moments; the same command then goes on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.failures.attempts import Outcome, attempt
from bench.failures.faults import Action, Fault
from bench.failures.jobs import Job
from bench.failures.outcome import Findings

__all__ = ["Reference", "kills"]

_SWEPT = ("import", "training", "conversion", "trimming", "export", "fetch", "rescoring", "publishing", "report")
"""Commands that are killed once at each of their operations, or at as many as the number of kills allows."""

_LONGEST_CHAIN = 20
"""Kills after which a command is let alone: most come before its next checkpoint, so it might never reach its end."""

_CHAINED = ("study", "stages", "training", "fetch")


class Reference:
    """What a command does and leaves where nothing disturbs it.

    Args:
        job: the command.
        root: where folders may be made.

    Attributes:
        operations: a letter for each of its file operations.
        seconds: it takes.
        left: what it leaves.
    """

    def __init__(self, job: Job, root: Path) -> None:
        self.job, self.root = job, root
        self.folder, self.log = root / f"undisturbed-{job.name}", root / f"{job.name}.log"
        arguments = job.begin(self.folder)
        outcome = attempt(arguments, Fault(self.folder), self.log)
        if outcome.code:
            raise SystemExit(f"undisturbed, `xeric {' '.join(arguments)}` ends with {outcome.code}:\n{outcome.output[-2000:]}")
        self.operations, self.seconds = outcome.operations, outcome.seconds
        self.left = self._left_in(self.folder)

    def begin(self) -> list[str]:
        """Make the folder of an attempt as it is before the command, and return the arguments."""
        return self.job.begin(self.target)

    @property
    def target(self) -> Path:
        """The folder of attempts; its path is as long as that of the undisturbed command."""
        return self.root / f"isdisturbed-{self.job.name}"

    def attempt(self, arguments: list[str], fault: Fault | None = None, *, kill_after: float | None = None) -> Outcome:
        """Carry the command out once more."""
        return attempt(arguments, fault or Fault(self.target), self.log, kill_after=kill_after)

    def now(self) -> dict[str, Any]:
        """Return what the attempts have left."""
        return self._left_in(self.target)

    def _left_in(self, folder: Path) -> dict[str, Any]:
        # Files may hold the path of their own folder.
        plain = str(folder).encode()
        return {
            name: value.replace(plain, b"FOLDER") if isinstance(value, bytes) else value
            for name, value in self.job.left(folder).items()
        }


def kills(references: dict[str, Reference], number: int, seed: int, findings: Findings) -> None:
    """Kill commands so many times, and compare what they leave at their end."""
    draw, most = random.Random(seed), max(number // (2 * len(_SWEPT)), 1)
    for name in _SWEPT:
        if name in references:
            number -= _sweep(references[name], most, draw, findings)
    chained = [references[name] for name in _CHAINED if name in references]
    while number > 0 and chained:
        reference = chained[draw.randrange(len(chained))]
        most = min(number, draw.randint(1, _LONGEST_CHAIN))
        number -= _chain(reference, most, draw, findings, timed=draw.random() < 0.5)


def _sweep(reference: Reference, most: int, draw: random.Random, findings: Findings) -> int:
    """Kill a command at each of its operations, a new one each time; writes also in their middle."""
    where = f"kill at each operation/{reference.job.name}"
    moments = [(Action.KILL, at) for at in range(1, len(reference.operations) + 1)]
    moments += [(Action.TEAR, at) for at, letter in enumerate(reference.operations, 1) if letter == "w"]
    if len(moments) > most:
        moments = draw.sample(moments, most)
    for action, at in moments:
        arguments = reference.begin()
        outcome = reference.attempt(arguments, Fault(reference.target, action, at))
        if outcome.killed:
            findings.add(where, kills=1)
        else:
            findings.clean(where, outcome)
        findings.clean(where, reference.attempt(arguments))
        before = len(findings.faults)
        findings.compare(where, reference.now(), reference.left)
        if len(findings.faults) > before:
            print(f"  after {action.name} at operation {at} ({reference.operations[:at][-12:]})", flush=True)
    print(f"{where}: {dict(findings.counts[where])}", flush=True)
    return findings.counts[where]["kills"]


def _chain(reference: Reference, most: int, draw: random.Random, findings: Findings, *, timed: bool) -> int:
    """Kill a command again and again, at random times or at random operations, until it reaches its end."""
    where = f"kill at random {'times' if timed else 'operations'}/{reference.job.name}"
    arguments, killed, moments = reference.begin(), 0, []
    for limit in _limits(reference, most, draw, timed=timed):
        fault = Fault(reference.target) if timed or limit is None else Fault(reference.target, Action.TEAR, int(limit))
        outcome = reference.attempt(arguments, fault, kill_after=limit if timed else None)
        moments.append(limit)
        if not outcome.killed:
            findings.clean(where, outcome)
            break
        killed += 1
        findings.add(where, kills=1)
    before = len(findings.faults)
    findings.compare(where, reference.now(), reference.left)
    if len(findings.faults) > before:
        print(f"  after kills at {moments}", flush=True)
    print(f"{where}: {dict(findings.counts[where])}", flush=True)
    return max(killed, 1)


def _limits(reference: Reference, most: int, draw: random.Random, *, timed: bool) -> Iterator[float | None]:
    """Yield when each attempt is killed, in seconds or operations; None, at last, is never."""
    whole = reference.seconds if timed else float(len(reference.operations))
    for _ in range(most):
        yield draw.uniform(0, 0.6 * whole) if timed else float(draw.randint(1, max(2, int(whole / 8))))
    yield None
