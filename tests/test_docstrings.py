"""What a class documents under ``Attributes`` is an attribute of it; ruff compares the arguments of functions (DOC102, D417)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "xeric"


def classes_of(sources: Iterable[str]) -> dict[str, ast.ClassDef]:
    nodes = (node for source in sources for node in ast.walk(ast.parse(source)))
    return {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}


def attributes(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> set[str]:
    """Fields, methods and what methods set on self, those of base classes too."""
    names: set[str] = set()
    for inner in ast.walk(node):
        match inner:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.FunctionDef(name=name):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    for base in node.bases:
        ancestor = classes.get(ast.unparse(base).partition("[")[0].rpartition(".")[2])
        names |= attributes(ancestor, classes) if ancestor and ancestor is not node else set()
    return names


def documented(node: ast.ClassDef) -> list[str]:
    section = (ast.get_docstring(node) or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    return re.findall(r"^ {4}(\w+):", section, flags=re.MULTILINE)


def strangers(classes: Mapping[str, ast.ClassDef]) -> list[str]:
    return [
        f"{node.name}.{name}" for node in classes.values() for name in documented(node) if name not in attributes(node, classes)
    ]


def test_every_documented_attribute_exists() -> None:
    classes = classes_of(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert sum(len(documented(node)) for node in classes.values()) > 500
    assert strangers(classes) == []


def test_an_attribute_that_is_not_there_is_found() -> None:
    source = 'class A:\n    """A.\n\n    Attributes:\n        here: x.\n        gone: y.\n    """\n\n    here: int\n'
    assert strangers(classes_of([source])) == ["A.gone"]
