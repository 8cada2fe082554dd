"""Whether another machine computes with the same software: what a study finds must not depend on where a run was computed."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from xeric import __version__
from xeric.errors import DataError, UserError
from xeric.records import RESULT_VERSION

__all__ = ["check_software", "cluster_mismatch", "software"]

_PACKAGE = Path(__file__).parents[1]
_CODE = "code"
_CODE_DIGITS = 12
_RAY_VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+)")
_SAME = "install the same versions of Python, Xeric and its packages on every machine, then give the same command again"


def software() -> dict[str, str]:
    """Return what has to be the same on all machines of a study, each under its name; no library is loaded for it.

    Of Python and torch these are the first two numbers, which decide what is computed; the code is a hash of Xeric's own files,
    since two checkouts may have the same version.
    """
    return {
        "Xeric": __version__,
        "results of version": str(RESULT_VERSION),
        "Python": _first_two(platform.python_version()),
        "torch": _torch(),
        _CODE: _code(_PACKAGE),
    }


def check_software(required: Mapping[str, str], machine: str) -> None:
    """Check that this machine has the software of another one.

    Args:
        required: what :func:`software` returned there; names that are unknown here count as different.
        machine: this one's name, for the message.

    Raises:
        DataError: it has another one; the sentence names both.
    """
    here = software()
    names = [name for name in required if here.get(name) != required[name]]
    if not names:
        return
    if names == [_CODE]:
        what = f"has other code under the same version of Xeric, {__version__} ({here[_CODE]}), than"
        raise DataError(
            f"{what} the machine where the study was started ({required[_CODE]})", where=f"node {machine}", hint=_SAME
        )
    names = [name for name in names if name != _CODE]
    own, other = (", ".join(f"{name} {versions.get(name, 'unknown')}" for name in names) for versions in (here, required))
    raise DataError(f"has {own}, and the machine where the study was started has {other}", where=f"node {machine}", hint=_SAME)


def cluster_mismatch(error: Exception, where: str) -> UserError | None:
    """Return that a Ray cluster has another Ray or Python than this process, as an error for the user; None for other errors.

    Args:
        error: what Ray raised when it was to connect: "Version mismatch:" and both versions, over several lines.
        where: how the cluster was named.
    """
    pairs = _RAY_VERSIONS.findall(str(error))
    if len(pairs) != 2:
        return None
    cluster, here = (f"Ray {ray} and Python {python}" for ray, python in pairs)
    return UserError(f"the cluster has {cluster}, and this machine {here}", where=where, hint=_SAME)


def _torch() -> str:
    try:
        return _first_two(metadata.version("torch"))
    except metadata.PackageNotFoundError:
        return "not installed"


def _first_two(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _code(package: Path) -> str:
    """Return a hash of the code in a package; line ends, which a checkout may change, do not count."""
    code = hashlib.sha256()
    for path in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).as_posix()):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        code.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode())
        code.update(content)
    return code.hexdigest()[:_CODE_DIGITS]
