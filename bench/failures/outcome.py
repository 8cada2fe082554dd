"""What was found: counts by part and command, and every difference and message that should not be there."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.failures.attempts import Outcome

__all__ = ["Findings", "differences"]


@dataclass
class Findings:
    """Counts and faults; printed as they come.

    Attributes:
        counts: by part and command, then by what is counted.
        faults: each in a line.
        skipped: what could not be done here, and why.
    """

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    faults: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, where: str, **numbers: int) -> None:
        """Add to the counts."""
        self.counts[where].update(numbers)

    def fault(self, where: str, what: str) -> None:
        """Note a fault."""
        self.faults.append(f"{where}: {what}")
        print(f"FAULT {where}: {what}", flush=True)

    def skip(self, what: str) -> None:
        """Note what could not be done."""
        self.skipped.append(what)
        print(f"skipped: {what}", flush=True)

    def compare(self, where: str, left: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        """Count a comparison of what a command left with what an undisturbed one leaves."""
        self.add(where, compared=1)
        for line in differences(left, expected)[:5]:
            self.fault(where, line)

    def clean(self, where: str, outcome: Outcome, codes: tuple[int, ...] = (0,)) -> bool:
        """Check an exit code, and that nothing was said which a user must not be shown."""
        if outcome.code not in codes:
            self.fault(
                where, f"exit code {outcome.code} instead of {codes}: {' | '.join(outcome.output.split(chr(10))[-4:])[:600]}"
            )
        for line in outcome.faults[:2]:
            self.fault(where, f"said {line[:300]!r}")
        return outcome.code in codes

    def table(self) -> str:
        """Return the counts as a Markdown table."""
        lines = ["| part | command | counted |", "|---|---|---|"]
        for where, counts in self.counts.items():
            part, _, command = where.partition("/")
            lines.append(f"| {part} | {command} | {', '.join(f'{number:,} {what}' for what, number in counts.items())} |")
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Write all of it as JSON."""
        counts = {where: dict(numbers) for where, numbers in self.counts.items()}
        content = {"counts": counts, "faults": self.faults, "skipped": self.skipped}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def differences(left: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Return in a line each what is missing, too much or different."""
    lines = [f"missing: {name}" for name in expected if name not in left]
    lines += [f"left over: {name}" for name in left if name not in expected]
    return lines + [f"differs: {name}" for name in expected if name in left and left[name] != expected[name]]
