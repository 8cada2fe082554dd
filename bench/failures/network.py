"""Two nodes in network namespaces that share a folder over the network (sshfs); the net of one is cut, and healed.

    python -m bench.failures.network -o DIR

Both nodes work on one study (`xeric study work`), each with a mount of its own. The net of one is cut while it works, for longer
than a lease; the other finishes the study. Then the net is healed, and the first must do no damage. Root, `ip`, `sshfs` and
`sshd` are needed; what is missing is said. NFS would need a kernel with it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.failures.jobs import World
from bench.failures.outcome import differences
from bench.killed_study import contents
from xeric.locks import STALE_SECONDS

__all__ = ["main"]

_NEEDED = ("ip", "nsenter", "sshfs", "ssh-keygen", "sshd")
_PROGRAM = "from xeric.cli import main; main()"
_SEARCH = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


class Node:
    """A network namespace with a way to this machine, and a mount of the shared folder.

    Args:
        number: of the node.
        root: for its mount, key and output.
    """

    def __init__(self, number: int, root: Path) -> None:
        self.name, self.number = f"xeric{number}", number
        self.mount, self._root = root / f"node{number}", root
        self.link = f"xericlink{number}"
        # Not by `ip netns exec`, which gives every command mounts of its own.
        self._inside = ["nsenter", f"--net=/run/netns/{self.name}"]
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Node:
        here, there = f"10.213.{self.number}.1", f"10.213.{self.number}.2"
        _ip("netns", "add", self.name)
        _ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("addr", "add", f"{here}/24", "dev", self.link)
        _ip("link", "set", self.link, "up")
        for words in (["addr", "add", f"{there}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            self.call("ip", *words)
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        subprocess.run(["umount", "-l", str(self.mount)], check=False, capture_output=True)
        _ip("netns", "del", self.name)
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def share(self, folder: Path, key: Path) -> None:
        """Serve a folder to the node, and mount it there."""
        address = f"10.213.{self.number}.1"
        config = self._root / f"sshd{self.number}.conf"
        lines = [f"ListenAddress {address}:2213", f"HostKey {key}", f"AuthorizedKeysFile {key}.pub", "StrictModes no"]
        lines += ["PermitRootLogin yes", "UsePAM no", "PidFile none", "Subsystem sftp internal-sftp"]
        config.write_text("\n".join(lines) + "\n", encoding="ascii")
        program = shutil.which("sshd", path=_SEARCH["PATH"]) or "sshd"
        Path("/run/sshd").mkdir(exist_ok=True)
        self._server = subprocess.Popen([program, "-D", "-f", str(config), "-E", str(self._root / "sshd.log")])
        self.mount.mkdir()
        options = f"IdentityFile={key},StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,port=2213,reconnect,"
        options += "ServerAliveInterval=5,ServerAliveCountMax=2,cache=no"
        for _ in range(20):
            if self.call("sshfs", "-o", options, f"root@{address}:{folder}", str(self.mount), check=False):
                return
            time.sleep(0.5)
        sys.exit("sshfs does not mount the folder")

    def call(self, *words: str, check: bool = True) -> bool:
        """Run a command in the namespace; return whether it succeeded."""
        command = [*self._inside, *words]
        return subprocess.run(command, check=check, env=_SEARCH, capture_output=not check).returncode == 0

    def start(self, arguments: Sequence[str], log: Path, machine: str) -> subprocess.Popen[bytes]:
        """Start a command of Xeric on the node, as one of a machine of its own."""
        code = f"import xeric.processes as p, xeric.locks as l; l.machine = p.machine = lambda: {machine!r}; {_PROGRAM}"
        words = [*self._inside, sys.executable, "-c", code, *arguments]
        with log.open("wb") as output:
            return subprocess.Popen(words, stdout=output, stderr=output, env={**_SEARCH, "PYTHONPATH": str(Path.cwd())})

    def cut(self) -> None:
        """Let no packet through."""
        _ip("link", "set", self.link, "down")

    def heal(self) -> None:
        """Let packets through again."""
        _ip("link", "set", self.link, "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, env=_SEARCH)


def main() -> int:
    """Cut and heal the net of one of two nodes; return 1 where the study is not that of one process."""
    parser = argparse.ArgumentParser("python -m bench.failures.network", None, __doc__)
    parser.add_argument("--output", "-o", type=Path)
    options = parser.parse_args()
    missing = [name for name in _NEEDED if shutil.which(name, path=_SEARCH["PATH"]) is None]
    if missing or os.geteuid() or not Path("/dev/fuse").exists():
        sys.exit(f"two nodes cannot be made here: {', '.join(missing) or 'no root, or no /dev/fuse'}")
    root = options.output or Path(tempfile.mkdtemp(prefix="failures-network-"))
    root.mkdir(parents=True, exist_ok=True)
    world, shared, key = World.made(root / "world"), root / "shared", root / "key"
    shared.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    study = str(world.folder / "study.yaml")
    slower = ("--set", "run.train.max_steps=12")
    alone = [sys.executable, "-c", _PROGRAM, "study", "run", study, "--json", "-o", str(root / "alone"), *slower]
    subprocess.run(alone, check=True, stdout=subprocess.DEVNULL)
    with Node(1, root) as first, Node(2, root) as second:
        for node in (first, second):
            node.share(shared, key)
        work = [
            node.start(["study", "work", study, "-o", str(node.mount / "study"), *slower], root / f"{node.name}.log", node.name)
            for node in (first, second)
        ]
        return _cut_and_healed(first, work, shared, root, study, slower)


def _cut_and_healed(
    node: Node, work: list[subprocess.Popen[bytes]], shared: Path, root: Path, study: str, slower: Sequence[str]
) -> int:
    while not _held_by(shared, node.name):
        if work[0].poll() is not None:
            sys.exit(f"the first node ended before its net could be cut:\n{(root / f'{node.name}.log').read_text()[-2000:]}")
        time.sleep(0.05)
    node.cut()
    start = time.monotonic()
    print(f"cut while the node holds {_held_by(shared, node.name)}", flush=True)
    code = work[1].wait(timeout=1200)
    print(f"the other node ended with exit code {code} after {time.monotonic() - start:.0f} s", flush=True)
    time.sleep(max(0.0, STALE_SECONDS + 20 - (time.monotonic() - start)))
    # A worker leaves what another one holds; once the lease is over the next one takes it.
    again = [sys.executable, "-c", _PROGRAM, "study", "work", study, "-o", str(shared / "study"), *slower]
    subprocess.run(again, check=True, stdout=subprocess.DEVNULL)
    node.heal()
    code = work[0].wait(timeout=600)
    last = (root / f"{node.name}.log").read_text(encoding="utf-8").strip().splitlines()[-2:]
    print(f"the node whose net was cut ended with exit code {code}: {' | '.join(last)}", flush=True)
    done = [sys.executable, "-c", _PROGRAM, "study", "run", study, "--json", "-o", str(shared / "study"), *slower]
    subprocess.run(done, check=True, stdout=subprocess.DEVNULL)
    differing = differences(contents(shared / "study"), contents(root / "alone"))
    print("\n".join(differing) or "the study has the bytes of that of one process", flush=True)
    return int(bool(differing))


def _held_by(shared: Path, machine: str) -> list[str]:
    """Return the locks of runs that a machine holds."""
    locks = [path for path in (shared / "study" / "locks").glob("runs-*") if path.suffix[1:].isdecimal()]
    return [path.name for path in locks if machine in path.read_text(encoding="utf-8")]


if __name__ == "__main__":
    sys.exit(main())
