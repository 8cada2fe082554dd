"""Two nodes in network namespaces carry out studies in a folder shared over the network (sshfs); the net is cut and healed.

    python -m bench.failures.network [--cuts 40] [--lease 20] [--seed 0] [-o DIR]

Each node has a mount of its own: that of the first gives errors (EIO) while the net is cut, that of the second hangs. The net of
one or of both is cut at random moments, for shorter or for longer than a lease. At the end the folder must hold the bytes of a
study that nothing has disturbed, no record may have been written twice, and both commands must have ended well. So that many cuts
can be made, a lease lasts some seconds instead of three minutes. Root, a C compiler, `ip`, `sshfs` and `sshd` are needed; what is
missing is said. NFS would need a kernel with it.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.failures.faults import Fault, preloaded
from bench.failures.nodes import Node, missing

if TYPE_CHECKING:
    from bench.failures.attempts import Attempt, Outcome
    from bench.failures.outcome import Findings

__all__ = ["main"]

_WHERE = "net cut and healed/study"
_LIMIT_SECONDS = 600.0
_LOOK_SECONDS = 0.2
_RECORDS = ("record.json", "stage.json", "tuning.json")


class _Watch:
    """What is seen of a study's folder, on the side that serves it: records as they were written first, locks taken over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records: dict[Path, bytes] = {}
        self.rewritten: set[str] = set()
        self.taken_over: set[str] = set()

    def look(self) -> None:
        """Look once."""
        for path in self._folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.name in _RECORDS and self._records.setdefault(path, path.read_bytes()) != path.read_bytes():
                    self.rewritten.add(str(path.relative_to(self._folder)))
            if path.parent.name == "locks" and path.suffix[1:].isdecimal() and path.suffix != ".1":
                self.taken_over.add(path.name)


class _Trial:
    """One study, carried out by both nodes while their net is cut and healed.

    Args:
        nodes: both.
        study: file of the study.
        shared: folder that the nodes share, as it is here.
        name: of the study's folder.
        lease: seconds.
        draw: of moments.
    """

    def __init__(self, nodes: Sequence[Node], study: Path, shared: Path, name: str, lease: float, draw: random.Random) -> None:
        self._nodes, self._study, self._name, self._lease, self._draw = nodes, study, name, lease, draw
        self.folder = shared / name
        self._watch = _Watch(self.folder)

    def carry_out(self, cuts: int, findings: Findings) -> int:
        """Carry the study out under at most so many cuts; return how many there were."""
        attempts = {node: self._start(node) for node in self._nodes}
        outcomes: dict[Node, Outcome] = {}
        made, limit = 0, time.monotonic() + _LIMIT_SECONDS

        def pass_time(seconds: float) -> None:
            end = min(time.monotonic() + seconds, limit)
            while time.monotonic() < end and len(outcomes) < len(attempts):
                self._watch.look()
                for node, attempt in attempts.items():
                    if node not in outcomes and (outcome := attempt.wait(_LOOK_SECONDS / 2)) is not None:
                        outcomes[node] = outcome

        while len(outcomes) < len(attempts) and time.monotonic() < limit:
            pass_time(self._draw.uniform(0.5, 8.0))
            if working := [node for node in self._nodes if node not in outcomes]:
                if made < cuts:
                    made += self._cut(working, pass_time, findings)
                else:
                    pass_time(_LIMIT_SECONDS)
        self._watch.look()
        for node, attempt in attempts.items():
            self._judge(node, attempt, outcomes.get(node), findings)
        findings.add(_WHERE, records_written_twice=len(self._watch.rewritten), locks_taken_over=len(self._watch.taken_over))
        for name in self._watch.rewritten:
            findings.fault(_WHERE, f"{self._name}: {name} was written twice")
        return made

    def _start(self, node: Node) -> Attempt:
        from bench.failures.attempts import Attempt

        folder = node.mount / self._name
        words = ["study", self._draw.choice(("work", "run")), str(self._study), "-o", str(folder), "--json", *_SETTINGS]
        log = self.folder.with_name(f"{self._name}-{node.name}.log")
        return Attempt(words, Fault(folder), self.folder.parent.parent / log.name, lambda: _become(node, self._lease))

    def _cut(self, working: list[Node], pass_time: Callable[[float], None], findings: Findings) -> int:
        nodes = working if self._draw.random() < 0.2 else [self._draw.choice(working)]
        longer = self._draw.random() < 0.5
        seconds = self._lease * (self._draw.uniform(1.2, 2.0) if longer else self._draw.uniform(0.05, 0.8))
        for node in nodes:
            node.cut()
        pass_time(seconds)
        for node in nodes:
            node.heal()
        findings.add(_WHERE, **{"cuts_beyond_the_lease" if longer else "shorter_cuts": len(nodes)})
        return len(nodes)

    def _judge(self, node: Node, attempt: Attempt, outcome: Outcome | None, findings: Findings) -> None:
        where = f"{self._name}, {node.name}"
        if outcome is None:
            attempt.signal(signal.SIGKILL)
            findings.fault(_WHERE, f"{where} hangs")
            return
        findings.clean(_WHERE, outcome)
        outages = outcome.said.count("trying again for up to")
        findings.add(_WHERE, commands=1, outages_waited_for=outages)
        print(f"  {where}: exit code {outcome.code} after {outcome.seconds:.0f} s, {outages} outages waited for", flush=True)


_SETTINGS = ("--set", "run.train.max_steps=12")


def _without_litter(left: dict[str, Any]) -> dict[str, Any]:
    """Leave out what FUSE leaves of a file that is deleted while the net is cut, and the folder that holds nothing else."""
    kept = {name: content for name, content in left.items() if ".fuse_hidden" not in name}
    return {name: content for name, content in kept.items() if not name.endswith("locks")}


def _become(node: Node, lease: float) -> None:
    """Let this process be one of a node: in its network, under a machine's name of its own, with leases that last so long."""
    from xeric import locks, processes

    node.enter()
    processes.machine = locks.machine = lambda: node.name
    processes._machine_mark.cache_clear()
    for function in (locks.acquire, locks.is_held):
        (function.__kwdefaults__ or {}).update(stale=lease)
    (locks.acquire.__kwdefaults__ or {}).update(beat=lease * locks.BEAT_SECONDS / locks.STALE_SECONDS)


def main() -> int:
    """Cut and heal the nets of two nodes; return 1 where a fault was found."""
    parser = argparse.ArgumentParser("python -m bench.failures.network", None, __doc__)
    parser.add_argument("--cuts", type=int, default=40)
    parser.add_argument("--per-study", type=int, default=4, help="cuts in one study at most")
    parser.add_argument("--lease", type=float, default=20.0, help="seconds; Xeric's own is 180")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", "-o", type=Path, help="new folder, on a file system in memory if it is to be quick")
    options = parser.parse_args()
    if reason := missing():
        sys.exit(f"two nodes cannot be made here: {reason}")
    preloaded("bench.failures.network")
    from bench.failures.attempts import attempt, import_all
    from bench.failures.jobs import World
    from bench.failures.outcome import Findings
    from bench.killed_study import contents

    root = options.output or Path(tempfile.mkdtemp(prefix="failures-network-"))
    root.mkdir(parents=True, exist_ok=True)
    world, shared, key, findings = World.made(root / "world"), root / "shared", root / "key", Findings()
    shared.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    study, alone = world.folder / "study.yaml", root / "alone"

    def run(folder: Path) -> list[str]:
        return ["study", "run", str(study), "--json", "-o", str(folder), *_SETTINGS]

    for number in (signal.SIGINT, signal.SIGTERM):  # also where it was started in the background, which ignores the first
        signal.signal(number, signal.default_int_handler)
    import_all([run(alone)], root)
    expected, draw, made = contents(alone), random.Random(options.seed), 0
    with Node(1, root, hangs=False) as first, Node(2, root, hangs=True) as second, contextlib.suppress(KeyboardInterrupt):
        for node in (first, second):
            node.share(shared, key)
        for number in range(options.cuts):
            if made >= options.cuts:
                break
            trial = _Trial((first, second), study, shared, f"study{number}", options.lease, draw)
            made += trial.carry_out(min(options.per_study, options.cuts - made), findings)
            # What `study work` leaves to others, and the results; nothing where `study run` has done it.
            findings.clean(_WHERE, attempt(run(trial.folder), Fault(trial.folder), root / f"{trial.folder.name}.log"))
            findings.compare(_WHERE, _without_litter(contents(trial.folder)), expected)
            shutil.rmtree(trial.folder)
    findings.write(root / "findings.json")
    print(findings.table())
    print("\n".join(findings.faults) or "no fault was found")
    return int(bool(findings.faults))


if __name__ == "__main__":
    sys.exit(main())
