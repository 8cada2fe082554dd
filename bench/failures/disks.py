"""Disks that are full or cannot be written: one sentence, nothing lost, and the same command goes on once that is mended."""

from __future__ import annotations

import errno
import random
from pathlib import Path

from bench.failures import mounts
from bench.failures.attempts import Outcome
from bench.failures.faults import Action, Fault
from bench.failures.kills import Reference
from bench.failures.outcome import Findings

__all__ = ["full_disks", "read_only_folders"]

_SPACE = "owsm"
"""Operations that take space."""


def full_disks(references: dict[str, Reference], most: int, seed: int, findings: Findings) -> None:
    """Let the disk be full from each operation on that takes space, and let small disks become full.

    Args:
        references: the commands.
        most: so many operations of a command at most; drawn where it has more.
        seed: of the draw.
        findings: are added to.
    """
    draw = random.Random(seed)
    for reference in references.values():
        moments = [at for at, letter in enumerate(reference.operations, 1) if letter in _SPACE]
        for at in sorted(draw.sample(moments, min(most, len(moments)))):
            fault = Fault(reference.target, Action.FULL, at, errno.ENOSPC)
            _refused(f"disk full from an operation on/{reference.job.name}", reference, fault, findings)
        for _ in range(most // 4):
            _small_disk(reference, draw.random(), findings)


def read_only_folders(references: dict[str, Reference], most: int, seed: int, findings: Findings) -> None:
    """Let a folder be for reading only, from the start and from an operation on; and run finished commands in one again."""
    draw = random.Random(seed)
    for reference in references.values():
        where = f"folder read-only/{reference.job.name}"
        arguments = reference.begin()
        with mounts.read_only(reference.target):
            _one_sentence(where, reference.attempt(arguments), findings)
        findings.add(where, refusals=1)
        findings.clean(where, reference.attempt(arguments))
        findings.compare(where, reference.now(), reference.left)
        with mounts.read_only(reference.target):
            again = reference.attempt(arguments)
            findings.add(where, finished=1)
            # A command that says that all is there already (import) is as good as one that looks and ends.
            if again.code and "is there already" not in again.output:
                _one_sentence(where, again, findings)
        findings.compare(where, reference.now(), reference.left)
        moments = list(range(1, len(reference.operations) + 1))
        for at in draw.sample(moments, min(most, len(moments))):
            fault = Fault(reference.target, Action.REFUSE, at, errno.EROFS)
            _refused(f"read-only from an operation on/{reference.job.name}", reference, fault, findings)


def _refused(where: str, reference: Reference, fault: Fault, findings: Findings) -> None:
    arguments = reference.begin()
    outcome = reference.attempt(arguments, fault)
    before = len(findings.faults)
    if outcome.code:
        findings.add(where, refusals=1)
        _one_sentence(where, outcome, findings)
    else:
        findings.add(where, unhindered=1)  # what could not be done was not needed
        findings.clean(where, outcome)
    findings.clean(where, reference.attempt(arguments))
    findings.compare(where, reference.now(), reference.left)
    if len(findings.faults) > before:
        print(f"  from operation {fault.at} on ({reference.operations[: fault.at][-12:]})", flush=True)


def _small_disk(reference: Reference, share: float, findings: Findings) -> None:
    where = f"small disk/{reference.job.name}"
    needed = sum(path.stat().st_size + 4096 for path in reference.folder.rglob("*")) // 1024
    given = _size(reference.job.template)
    with mounts.SmallDisk(reference.target, 1 << 16) as disk:
        arguments = reference.begin()
        disk.grow(max(8, given + int((needed - given) * share)))
        outcome = reference.attempt(arguments)
        if outcome.code:
            findings.add(where, refusals=1)
            _one_sentence(where, outcome, findings)
            disk.grow(1 << 16)
            findings.clean(where, reference.attempt(arguments))
        findings.compare(where, reference.now(), reference.left)


def _size(folder: Path | None) -> int:
    return 0 if folder is None else sum(path.stat().st_size + 4096 for path in folder.rglob("*")) // 1024


def _one_sentence(where: str, outcome: Outcome, findings: Findings) -> None:
    """Check that a refusal is one sentence that names the reason, with exit code 1 or 2."""
    findings.clean(where, outcome, (1, 2))
    sentences = [line for line in outcome.output.splitlines() if line.startswith("xeric: ")]
    reasons = ("No space left on device", "Read-only file system")
    if len(sentences) != 1 or not any(reason in sentences[0] for reason in reasons):
        findings.fault(where, f"said {sentences or outcome.output[-300:]!r}")
