"""tools/check_files.py finds one bad file per rule, in a repository made for it; the forbidden texts are put together here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "tools" / "check_files.py"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "good.py").write_text('"""Fine."""\n', encoding="utf-8")
    return tmp_path


def check(folder: Path) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, str(SCRIPT), str(folder)], capture_output=True, encoding="utf-8", check=False)
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


def add(folder: Path, name: str, text: str | bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))


BAD = {
    "index option": ("a.txt", "--extra-index" + "-url x", "package index"),
    "links option": ("a.txt", "--find" + "-links x", "package index"),
    "index variable": ("a.sh", "export PIP_INDEX" + "_URL=x", "package index"),
    "index address": ("a.toml", 'url = "https://host.example' + '/simple/"', "package index"),
    "wheel index": ("a.md", "see https://download.example" + "/whl/cpu", "package index"),
    "home": ("a.yaml", "path: /ho" + "me/someone/x", "path of one machine"),
    "home of a Mac": ("a.yaml", "path: /Us" + "ers/someone", "path of one machine"),
    "home on Windows": ("a.json", r'"C:\\Us' + r'ers\\someone"', "path of one machine"),
    "root's home": ("a.json", '"/ro' + 'ot"', "path of one machine"),
    "temporary": ("a.py", 'x = Path("/tm' + 'p/x")', "path of one machine"),
    "work folder": ("a.cfg", "PATH=bin:/wo" + "rk/bin", "path of one machine"),
    "file address": ("a.txt", "file:" + "///srv/x", "path of one machine"),
    "pickle": ("a.py", "    import pick" + "le", "pickle"),
    "part of pickle": ("a.py", "from pick" + "le import loads", "pickle"),
    "arrays with pickle": ("a.py", "np.load(f, allow_pickle" + "=True)", "pickle"),
    "torch.load": ("a.py", "x = torch.lo" + "ad(f)", "pickle"),
    "torch.load of anything": ("a.py", "x = torch.lo" + "ad(f, weights_only=False)", "pickle"),
    "torch.save": ("a.py", "torch.sa" + "ve(x, f)", "pickle"),
    "remote code": ("a.py", "f(x, trust_remote_code" + "=True)", "must not run unasked"),
    "vague module": ("xeric/uti" + "ls.py", "", "says what is in it"),
    "vague folder": ("xeric/comm" + "on/loss.py", "", "says what is in it"),
}


@pytest.mark.parametrize("case", BAD)
def test_each_rule_finds_its_bad_file(repository: Path, case: str) -> None:
    name, line, what = BAD[case]
    add(repository, name, f"\n{line}\n" if line else "")
    code, lines = check(repository)
    assert code == 1
    assert lines[0].startswith(f"{name}:{2 if line else 1}: ")
    assert what in lines[0]
    assert lines[1:] == ["check_files: 2 files, 2 of them text: 1 failures, 0 warnings"]


@pytest.mark.parametrize(
    "line",
    [
        "https://example.org/home/page and https://example.org/tmp/x",
        "data/tmp/x, ./work/y, ../root/z, <a></root>, f'{folder}/tmp/x'",
        "x = torch.load(f, weights_only=True)",
        "torch.load and trust_remote_code=False are words; a pickle is a vegetable",
        "pip reads its index from its own settings",
    ],
)
def test_innocent_lines_pass(repository: Path, line: str) -> None:
    add(repository, "a.py", f"# {line}\n")
    assert check(repository) == (0, ["check_files: 2 files, 2 of them text: 0 failures, 0 warnings"])


@pytest.mark.parametrize(
    ("length", "code", "counts"), [(300, 0, "0 failures, 0"), (400, 0, "0 failures, 1"), (401, 1, "1 failures, 0")]
)
def test_length(repository: Path, length: int, code: int, counts: str) -> None:
    add(repository, "xeric/long.py", "\n" * length)
    add(repository, "xeric/bundled/long.json", "\n" * 1000)
    add(repository, "tests/long.py", "\n" * 1000)
    got, lines = check(repository)
    assert got == code
    assert counts in lines[-1]
    assert len(lines) == (1 if length <= 300 else 2)


def test_looks_at_tracked_and_new_files_but_not_at_ignored_ones(repository: Path) -> None:
    bad = "import pick" + "le\n"
    for name in ("tracked.py", "new.py", "ignored.py"):
        add(repository, name, bad)
    add(repository, ".gitignore", "ignored.py\n")
    subprocess.run(["git", "add", "tracked.py"], cwd=repository, check=True)
    _, lines = check(repository)
    assert [line.split(":")[0] for line in lines[:-1]] == ["new.py", "tracked.py"]


def test_binary_files_are_counted_not_read(repository: Path) -> None:
    add(repository, "a.bin", b"\0/tm" + b"p/x")
    assert check(repository) == (0, ["check_files: 2 files, 1 of them text: 0 failures, 0 warnings"])


def test_nothing_to_look_at_is_a_failure(repository: Path) -> None:
    (repository / "good.py").unlink()
    assert check(repository) == (1, ["check_files: 0 files, 0 of them text: 0 failures, 0 warnings"])
