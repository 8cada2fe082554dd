"""Nodes: network namespaces with a way to this machine, each with a mount of one folder over the network (sshfs)."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Node", "missing"]

_NEEDED = ("ip", "nsenter", "sshfs", "ssh-keygen", "sshd")
_SEARCH = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
_NETWORK_NAMESPACE = 0x40000000
_ANSWERING = ("reconnect", "ServerAliveInterval=1", "ServerAliveCountMax=2", "ConnectTimeout=2")
"""Of a mount that fails (EIO) a few seconds after the net is cut, and connects anew; without them it hangs meanwhile."""


def missing() -> str | None:
    """Return why nodes cannot be made here, or None where they can."""
    programs = [name for name in _NEEDED if shutil.which(name, path=_SEARCH["PATH"]) is None]
    return ", ".join(programs) or ("no root, or no /dev/fuse" if os.geteuid() or not Path("/dev/fuse").exists() else None)


class Node:
    """A network namespace with a mount of the shared folder; a context.

    Args:
        number: of the node.
        root: for its mount, key and configuration.
        hangs: whether what is asked of the mount waits while the net is cut; if not, it fails.
    """

    def __init__(self, number: int, root: Path, *, hangs: bool) -> None:
        self.name, self.number, self.hangs = f"xeric{number}", number, hangs
        self.mount, self._root = root / f"node{number}", root
        self._link = f"xericlink{number}"
        # Not by `ip netns exec`, which gives every command mounts of its own.
        self._inside = ["nsenter", f"--net=/run/netns/{self.name}"]
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Node:
        here, there = f"10.213.{self.number}.1", f"10.213.{self.number}.2"
        _ip("netns", "add", self.name)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("addr", "add", f"{here}/24", "dev", self._link)
        _ip("link", "set", self._link, "up")
        for words in (["addr", "add", f"{there}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            self._call("ip", *words)
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        subprocess.run(["umount", "-l", str(self.mount)], check=False, capture_output=True)
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        _ip("link", "del", self._link)
        _ip("netns", "del", self.name)

    def share(self, folder: Path, key: Path) -> None:
        """Serve a folder to the node, and mount it there."""
        address = f"10.213.{self.number}.1"
        config = self._root / f"sshd{self.number}.conf"
        lines = [f"ListenAddress {address}:2213", f"HostKey {key}", f"AuthorizedKeysFile {key}.pub", "StrictModes no"]
        lines += ["PermitRootLogin yes", "UsePAM no", "PidFile none", "Subsystem sftp internal-sftp"]
        config.write_text("\n".join(lines) + "\n", encoding="ascii")
        program = shutil.which("sshd", path=_SEARCH["PATH"]) or "sshd"
        Path("/run/sshd").mkdir(exist_ok=True)
        words = [program, "-D", "-f", str(config), "-E", str(self._root / "sshd.log")]
        self._server = subprocess.Popen(words, env={name: value for name, value in _SEARCH.items() if name != "LD_PRELOAD"})
        self.mount.mkdir()
        options = [f"IdentityFile={key}", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "port=2213", "cache=no"]
        options += () if self.hangs else _ANSWERING
        for _ in range(20):
            if self._call("sshfs", "-o", ",".join(options), f"root@{address}:{folder}", str(self.mount), check=False):
                return
            time.sleep(0.5)
        sys.exit("sshfs does not mount the folder")

    def enter(self) -> None:
        """Put this process into the namespace."""
        with Path(f"/run/netns/{self.name}").open("rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NETWORK_NAMESPACE):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), namespace.name)

    def cut(self) -> None:
        """Let no packet through."""
        _ip("link", "set", self._link, "down")

    def heal(self) -> None:
        """Let packets through again."""
        _ip("link", "set", self._link, "up")

    def _call(self, *words: str, check: bool = True) -> bool:
        """Run a command in the namespace; return whether it succeeded."""
        return _run([*self._inside, *words], check=check, quiet=not check)


def _ip(*words: str) -> None:
    _run(["ip", *words], check=True, quiet=False)


def _run(words: Sequence[str], *, check: bool, quiet: bool) -> bool:
    variables = {name: value for name, value in _SEARCH.items() if name != "LD_PRELOAD"}
    return subprocess.run(words, check=check, env=variables, capture_output=quiet).returncode == 0
