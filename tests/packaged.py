"""A tiny base in the files of two packages, which pip finds in a folder and nowhere else."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import zipfile
from pathlib import Path

from tests import ggufs
from xeric.bases import named
from xeric.bases.named import NamedBase, PackageFiles

__all__ = ["pip_settings", "write_packaged_base", "write_wheel"]


def pip_settings(index: Path) -> dict[str, str]:
    """Return the variables by which pip looks into a folder of wheels alone; others whose names begin with PIP_ must be gone."""
    return {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}


def write_wheel(folder: Path, package: str, member: str, content: bytes) -> Path:
    """Write a wheel that holds one file, and code that would end the process if anything ran it."""
    module = package.replace("-", "_")
    path = folder / f"{module}-1.0.0-py3-none-any.whl"
    info = f"{module}-1.0.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{module}/__init__.py", "raise SystemExit('code of a fetched package ran')\n")
        wheel.writestr(f"{module}/{member}", content)
        metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0.0\nRequires-Dist: no-such-package-anywhere\n"
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def write_packaged_base(folder: Path) -> NamedBase:
    """Write ``tiny.gguf`` and the wheels of its two halves (``index``), and return the base as it would be registered."""
    content = ggufs.write_gguf(folder / "tiny.gguf", ggufs.random_model("llama"), "llama").read_bytes()
    index, half = folder / "index", len(content) // 2
    index.mkdir()
    write_wheel(index, "tiny-part1", "tiny.gguf.part00", content[:half])
    write_wheel(index, "tiny-part2", "tiny.gguf.part01", content[half:])
    members = ("tiny_part1/tiny.gguf.part00", "tiny_part2/tiny.gguf.part01")
    return dataclasses.replace(
        named.SMOLLM2_135M,
        name="tiny",
        title="Tiny",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        sources=(PackageFiles(("tiny-part1==1.0.0", "tiny-part2==1.0.0"), members),),
        bits_per_character={},
    )
