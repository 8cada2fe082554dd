"""What mkdocs calls while it builds the site: pages of commands and settings are made of the code, so they are never out of date.

Named under ``hooks`` in ``mkdocs.yml``. A page's line ``<!-- commands -->`` is replaced by every command of ``xeric`` with its
arguments and options; a line ``<!-- settings train xeric.training.options:TrainOptions -->`` by the settings of a model, by
dotted path, each with its default and what the model's docstring says of it. Roles (``:class:``) are left out.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from typing import Any

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typer.main import get_command

from xeric.cli.main import app

__all__ = ["command_pages", "on_page_content", "on_page_markdown", "settings_table"]

COMMANDS = "<!-- commands -->"
SETTINGS = re.compile(r"<!-- settings (\S*) ?(xeric[\w.]+):(\w+) -->")
ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):(?=<code>)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page's text with the markers replaced; mkdocs calls this for every page."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, command_pages())
    return SETTINGS.sub(lambda marker: settings_table(*marker.groups()), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Return a page's HTML without the roles of cross-references; mkdocs calls this for every page."""
    return ROLE.sub("", html)


def command_pages() -> str:
    """Return one section of Markdown for every command, groups before their commands."""
    return "\n".join(_sections(get_command(app), "xeric", 2))


def _sections(command: Any, name: str, level: int) -> Iterator[str]:
    context = typer.Context(command, info_name=name)
    yield f"{'#' * level} `{name}`\n"
    yield f"{command.help or ''}\n"
    if not hasattr(command, "commands"):
        usage = " ".join(piece for piece in command.collect_usage_pieces(context) if piece)
        yield f"```\n{name} {usage}\n```\n"
    rows = [row for parameter in command.get_params(context) if (row := _row(parameter, context))]
    if rows:
        yield "| | |\n|---|---|"
        yield from rows
        yield ""
    for inner_name, inner in getattr(command, "commands", {}).items():
        yield from _sections(inner, f"{name} {inner_name}", min(level + 1, 3))


def _row(parameter: Any, context: typer.Context) -> str | None:
    """Return a table row of a parameter; None for a hidden one and for ``--help``, which every command has."""
    record = parameter.get_help_record(context)
    if record is None or "--help" in parameter.opts:
        return None
    names, text = (str(part).replace("|", r"\|") for part in record)
    return f"| `{names}` | {_escaped(text)} |"


def _escaped(text: str) -> str:
    """Return a help text in which nothing outside backticks is taken for emphasis or a tag."""
    parts = text.split("`")
    return "`".join(part if number % 2 else re.sub(r"([*_<])", r"\\\1", part) for number, part in enumerate(parts))


def settings_table(path: str, module: str, name: str) -> str:
    """Return a table of a model's settings.

    Args:
        path: dotted path of the model's settings; empty for those of the run itself.
        module: that the model is in.
        name: of the model.

    Raises:
        ValueError: the model's docstring says nothing of a field.
    """
    model: type[BaseModel] = getattr(importlib.import_module(module), name)
    meanings: dict[str, str] = {}
    for ancestor in reversed(model.__mro__):
        meanings |= _attributes(ancestor.__doc__ or "")
    rows = ["| setting | default | |", "|---|---|---|"]
    for key, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel) and key not in meanings:
            continue  # a group of settings with a table of its own
        if key not in meanings:
            raise ValueError(f"the docstring of {module}.{name} says nothing of {key!r}")
        dotted = f"{path}.{key}" if path else key
        rows.append(f"| `{dotted}` | {_default(default)} | {_escaped(meanings[key])} |")
    return "\n".join(rows)


def _attributes(docstring: str) -> dict[str, str]:
    """Return what the section ``Attributes`` of a docstring says, by name, each on one line."""
    _, _, section = docstring.partition("Attributes:\n")
    meanings: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if not line.strip():
            break
        if begins := re.match(r" {8}(\w+): (.*)", line):
            name, meanings[begins[1]] = begins[1], begins[2]
        elif name:
            meanings[name] += " " + line.strip()
    return {name: text.replace("``", "`").replace("|", r"\|") for name, text in meanings.items()}


def _default(value: Any) -> str:
    """Return a default as one would write it in a settings file; nothing for what must be given, or has settings of its own."""
    if value is PydanticUndefined or isinstance(value, BaseModel):
        return ""
    if isinstance(value, tuple):
        value = list(value)
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
