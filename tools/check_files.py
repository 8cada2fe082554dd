"""Look for what must not be in the repository, in every file that git knows or would add.

Usage: ``python tools/check_files.py [FOLDER]``. One line a finding, ``file:line: what``; exit code 1 when there is a failure, or
when there was nothing to look at. The patterns are written so that they do not match their own text.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

WARN_LINES, MAX_LINES = 300, 400

# A path counts only where it begins: not inside an address, a relative path or a closing tag.
PATH_BEGINS = r"(?<![\w.~/<>)}\]*-])"
FOLDERS = r"(?:root|work|workspace|tmp|var/tmp|mnt|scratch)(?=[/\"'`\s]|$)"

EVERYWHERE = {
    "address of a package index": r"\b(?:index[-]url|find[-]links)\b|\bPIP_(?:EXTRA_)?INDEX_URL="
    r"|https?://[^\s\"'<>]+/(?:simple|whl)\b",
    "path of one machine": PATH_BEGINS + r"(?:/(?:home|Users)/\w|/" + FOLDERS + r"|[A-Za-z]:\\{1,2}Users\b)|\bfile:/{3}",
}
PYTHON_ONLY = {
    "pickle runs code when it is read": r"^\s*(?:import|from)\s+(?:c?pickle|cloudpickle|dill|joblib)\b"
    r"|\ballow_pickle\s*=\s*True\b|\bread_pickle\s*\(",
    # With weights_only, torch makes tensors of such a file and no other objects: for a published file, checked by its hash.
    "torch's own file format is pickle: use safetensors": r"\btorch\.(?:load\s*\((?!.*\bweights_only=True\b)|save\s*\()",
    "code from a model's repository must not run unasked": r"\btrust_remote_code\s*=\s*True\b",
}
VAGUE_NAME = re.compile(r"(?:utils?|helpers?|common)(?:\.py)?")

EVERYWHERE_PATTERNS = {what: re.compile(pattern) for what, pattern in EVERYWHERE.items()}
PYTHON_PATTERNS = {what: re.compile(pattern) for what, pattern in (EVERYWHERE | PYTHON_ONLY).items()}


def main(folder: Path) -> int:
    """Check ``folder``, print what is found, and return the exit code."""
    files = list_files(folder)
    failures = warnings = read = 0
    for path in files:
        for line, what in check_name(path):
            print(f"{path}:{line}: {what}")
            failures += 1
        text = read_text(folder / path)
        if text is None:
            continue
        read += 1
        for line, what in check_text(path, text):
            print(f"{path}:{line}: {what}")
            failures += 1
        length = text.count("\n")
        if is_source(path) and length > WARN_LINES:
            too_long = length > MAX_LINES
            print(f"{path}:{length}: {'' if too_long else 'warning: '}{length} lines; a file stays near {WARN_LINES}")
            failures += too_long
            warnings += not too_long
    print(f"check_files: {len(files)} files, {read} of them text: {failures} failures, {warnings} warnings")
    return 1 if failures or not read else 0


def list_files(folder: Path) -> list[Path]:
    """Return the files that git tracks or would add under ``folder``, relative to it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout.split("\0")
    return sorted(Path(name) for name in set(names) if name and (folder / name).is_file())


def read_text(path: Path) -> str | None:
    """Return the text of a file, or None where it is binary."""
    content = path.read_bytes()
    return None if b"\0" in content[:8192] else content.decode("utf-8", errors="replace")


def check_name(path: Path) -> Iterator[tuple[int, str]]:
    """Yield a finding where a Python file, or a folder that it is in, has a name that says nothing."""
    if path.suffix == ".py" and any(VAGUE_NAME.fullmatch(part) for part in path.parts):
        yield 1, "a module's name says what is in it"


def check_text(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yield line number and finding for every line that a pattern matches."""
    patterns = PYTHON_PATTERNS if path.suffix == ".py" else EVERYWHERE_PATTERNS
    for number, line in enumerate(text.split("\n"), start=1):
        for what, pattern in patterns.items():
            if pattern.search(line):
                yield number, what


def is_source(path: Path) -> bool:
    """Say whether the length rule holds for a file: the package's code and templates, not the data shipped with it."""
    return path.parts[0] == "xeric" and "bundled" not in path.parts


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
