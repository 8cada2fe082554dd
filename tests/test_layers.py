"""The import direction of the design holds, covers every module, and what needs no tensors does not load torch."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter import api

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "xeric"
HEAVY = ("torch", "transformers", "peft")
LIGHT = (
    "xeric.errors",
    "xeric.registry",
    "xeric.config",
    "xeric.search_space",
    "xeric.text",
    "xeric.formatting",
    "xeric.yaml_io",
    "xeric.records",
    "xeric.record_io",
    "xeric.data",
    "xeric.metrics",
    "xeric.statistics",
    "xeric.studies",
    "xeric.analysis",
    "xeric.report",
)


def contract(name: str) -> dict[str, list[str]]:
    options = api.read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    return next(c for c in options if c["id"] == name)


def run_python(code: str, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, encoding="utf-8", check=False
    )


def lint_imports(folder: Path = ROOT) -> tuple[int, str]:
    done = run_python("import sys; from importlinter.cli import lint_imports as f; sys.exit(f(no_cache=True))", folder=folder)
    return done.returncode, done.stdout + done.stderr


def test_contracts_hold() -> None:
    code, output = lint_imports()
    assert code == 0, output
    assert "3 kept, 0 broken" in output


def test_layers_cover_every_module() -> None:
    layers = {layer.strip("()") for layer in contract("layers")["layers"]}
    there = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/*.py")}
    there -= {"__init__", "xeric"}
    assert len(there) >= 13
    assert there <= layers, f"in no layer of pyproject.toml: {sorted(there - layers)}"


def test_report_is_under_the_torch_contract_as_soon_as_it_exists() -> None:
    if (PACKAGE / "report" / "__init__.py").exists():
        assert "xeric.report" in contract("no-torch")["source_modules"]


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("newcomer.py", "", "xeric.newcomer"),
        ("errors.py", "import xeric.registry", "xeric.errors is not allowed to import xeric.registry"),
        ("data/batching.py", "import xeric.bases", "xeric.data is not allowed to import xeric.bases"),
        ("data/duplicates.py", "import xeric.data.splits", "xeric.data.duplicates is not allowed to import xeric.data.splits"),
        ("data/newcomer.py", "", "xeric.data.newcomer"),
        ("text.py", "def late():\n    import torch", "xeric.text -> torch"),
        ("metrics/newcomer.py", "from transformers import AutoModel", "xeric.metrics.newcomer -> transformers"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, file: str, line: str, message: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for source in PACKAGE.rglob("*.py"):
        copy = tmp_path / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)
    with (tmp_path / "xeric" / file).open("a", encoding="utf-8") as changed:
        changed.write(f"\n\n{line}\n")
    code, output = lint_imports(tmp_path)
    assert code == 1
    assert message in " ".join(output.split())


def test_no_module_reaches_another_through_the_package_root() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    reached = []
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            through_root = isinstance(node, ast.Import) and any(name.name == "xeric" for name in node.names)
            if isinstance(node, ast.ImportFrom) and node.module == "xeric":
                own = {name.name for name in node.names if name.name != "__version__"}
                through_root = any(not (PACKAGE / name).is_dir() and not (PACKAGE / f"{name}.py").is_file() for name in own)
            if through_root:
                reached.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(files) >= 20
    assert not reached, f"import from the module that defines the name: {reached}"


def loaded_after(code: str, *arguments: str) -> dict[str, list[str]]:
    """Run code that fills ``done`` and return ``done`` with the heavy libraries that were loaded by then."""
    tail = f"\nprint(json.dumps({{'done': done, 'heavy': [m for m in {HEAVY!r} if m in sys.modules]}}))"
    ran = run_python("import importlib, json, pkgutil, sys\ndone = []\n" + code + tail, *arguments)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_light_modules_load_no_torch() -> None:
    code = """
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    inner = [m.name for m in pkgutil.walk_packages(getattr(module, "__path__", []), name + ".")]
    done += [importlib.import_module(n).__name__ for n in inner] + [name]
"""
    got = loaded_after(code, *LIGHT)
    assert set(LIGHT) <= set(got["done"])
    assert len(got["done"]) >= 20
    assert got["heavy"] == []


def test_help_loads_no_torch() -> None:
    code = """
from xeric.cli import main
sys.argv = ["xeric", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
done.append("help")
"""
    assert loaded_after(code) == {"done": ["help"], "heavy": []}
