"""YAML, read as its writer meant it, and written so that every reader takes it the same way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import regex
import yaml
from pydantic import BaseModel

from xeric.encodings import read_text
from xeric.errors import DataError

__all__ = ["MAX_VALUES", "YamlLines", "dump_yaml", "load_yaml", "parse_yaml"]

MAX_VALUES = 100_000
"""A YAML text that stands for more values, those that aliases repeat included, is refused."""


class _Loader(yaml.SafeLoader):
    """YAML with the surprises taken out: ``no`` is a word, ``1e-4`` a number, a date a string, a repeated key an error."""


# PyYAML follows YAML 1.1: there `no` is false, 1e-4 a string, 2024-01-02 a date and 12:30 the number 750.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("null", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", regex.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", regex.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    regex.compile(r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    list("-+0123456789."),
)


def _mapping_without_repeats(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is not text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands here twice", key_node.start_mark)
        seen.add(key)
    # Merged keys (`<<: *other`) are put first, so that the mapping's own, which are there to override them, come last and win.
    loader.flatten_mapping(node)
    return {loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value}


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        DataError: the text is not YAML, repeats a key, or stands for more than :data:`MAX_VALUES` values; ``where`` is completed
            with the line.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        if _weight(root, {}) > MAX_VALUES:
            raise DataError(
                f"not valid YAML: with what its aliases (*) repeat, it holds more than {MAX_VALUES} values", where=where
            )
        return loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{where}, line {mark.line + 1}" if mark else where
        raise DataError(f"not valid YAML: {error.problem or error.context}", where=where) from None
    except yaml.reader.ReaderError as error:
        where = f"{where}, line {text.count(chr(10), 0, error.position) + 1}"
        raise DataError(f"not valid YAML: {str(error).splitlines()[0]}", where=where) from None
    except RecursionError:
        raise DataError("not valid YAML: nested too deeply", where=where) from None
    except (IndexError, AttributeError, TypeError, OverflowError):
        raise DataError("not valid YAML: a tag (!!) stands before a value that it does not fit", where=where) from None
    except (ValueError, KeyError) as error:  # a number of thousands of digits, or another tag that its text does not fit
        raise DataError(f"not valid YAML: {str(error).split(';')[0]}", where=where) from None


def _weight(node: yaml.Node, weights: dict[yaml.Node, int]) -> int:
    """Return how many values a node stands for where every alias is written out.

    A few hundred bytes of aliases to lists of aliases can stand for billions, all of which a walk through them visits.

    Raises:
        yaml.MarkedYAMLError: the node holds itself.
    """
    weight = weights.get(node)
    if weight is None:
        weights[node] = 0  # as long as it is being counted
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        else:
            inner = node.value if isinstance(node, yaml.SequenceNode) else []
        weight = weights[node] = 1 + sum(_weight(part, weights) for part in inner)
    elif not weight:
        raise yaml.MarkedYAMLError(problem="a value holds itself", problem_mark=node.start_mark)
    return weight


def load_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        DataError: the file is missing, unreadable, not YAML, or holds something else than a mapping.
    """
    try:
        text = read_text(path)
    except DataError as error:
        hint = error.hint if path.is_file() else "give the path of a YAML file"
        raise DataError(error.what, where=error.where, hint=hint) from None
    value = parse_yaml(text, str(path))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DataError(f"expected a mapping of settings, found {type(value).__name__}", where=str(path))
    return value


class YamlLines:
    """The lines of a YAML text on which its settings stand.

    Args:
        text: that :func:`parse_yaml` reads.
    """

    def __init__(self, text: str) -> None:
        self._root: yaml.Node | None = yaml.compose(text, Loader=_Loader)

    def line(self, where: str) -> int | None:
        """Return the line, from 1, of the setting at a dotted path; where it is not in the text, that of the group it belongs to.

        In a list, its entry's number or the entry itself may stand in the path. None where no part of the path is in the text.
        """
        node, rest, line = self._root, where, None
        while rest and node is not None:
            entry = self._entry(node, rest)
            if entry is None:
                break
            line, node, rest = entry
        return line

    def _entry(self, node: yaml.Node, path: str) -> tuple[int, yaml.Node, str] | None:
        """Return the line and the node of the entry that a path begins with, and the rest of the path."""
        entries: list[tuple[str, yaml.Node, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            entries = [(str(key.value), key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            entries = [(str(number), value, value) for number, value in enumerate(node.value)]
            entries += [(str(value.value), value, value) for value in node.value if isinstance(value, yaml.ScalarNode)]
        # A label may hold dots: the longest key that the path begins with.
        for key, marked, value in sorted(entries, key=lambda entry: -len(entry[0])):
            if key and (path == key or path.startswith(f"{key}.")):
                return marked.start_mark.line + 1, value, path[len(key) + 1 :]
        return None


def dump_yaml(value: BaseModel | Mapping[str, Any]) -> str:
    """Return settings as YAML that :func:`parse_yaml` reads back to equal settings, keys in their order of definition."""
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else dict(value)
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Quotes text that :class:`_Loader` or a YAML 1.1 reader would take for something else."""


_Dumper.yaml_implicit_resolvers = {
    first: yaml.SafeDumper.yaml_implicit_resolvers.get(first, []) + _Loader.yaml_implicit_resolvers.get(first, [])
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
}


# PyYAML writes these line ends as they are in plain and quoted text, and reads them back as spaces.
_RARE_BREAKS = regex.compile("[\x85\u2028\u2029]")


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if _RARE_BREAKS.search(value) else None)


_Dumper.add_representer(str, _represent_text)
