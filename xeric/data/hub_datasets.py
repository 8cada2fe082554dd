"""Hugging Face datasets as tables, where the extra ``hub`` is installed.

A class label is stored as a number and means its name, so the name is what comes out.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xeric.data.tables import Table
from xeric.encodings import nfc
from xeric.errors import DataError, RunError, UserError

__all__ = ["dataset_table", "parquet_table"]

_SAVED = ("state.json", "dataset_dict.json")
"""One of these is in the folder of a dataset that was saved by ``save_to_disk``."""


def dataset_table(source: str, is_folder: bool, split: str, subset: str | None, revision: str | None) -> Table:
    """Return a split of a dataset.

    Args:
        source: the folder of a saved dataset or of its files, or an id on the hub.
        is_folder: which of them it is.
        split: its name.
        subset: configuration of the dataset.
        revision: commit of the dataset, so that the same data comes again.

    Raises:
        UserError: the extra is not installed, or there is no such split.
        RunError: the dataset cannot be loaded.
    """
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        hint = "pip install 'xeric[hub]', or save the dataset as .jsonl"
        what = "reading a Hugging Face dataset needs the extra 'hub'"
        what = f"is a folder, not a table, and {what}" if is_folder else f"there is no such file, and {what}"
        raise UserError(what, where=source, hint=hint) from None
    try:
        loaded = _load(datasets, source, is_folder, split, subset, revision)
        names = {column: _names(feature) for column, feature in (getattr(loaded, "features", None) or {}).items()}
        rows = [{nfc(key): names.get(key, _as_is)(value) for key, value in row.items()} for row in loaded]
        columns = tuple(nfc(column) for column in loaded.column_names)
    except (OSError, ValueError, LookupError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = "check the id, --split, --subset, --revision and the network"
        raise RunError(f"the dataset cannot be loaded: {reason}", where=source, hint=hint) from None
    return Table(columns, [(f"{source}, row {number}", row) for number, row in enumerate(rows)])


def parquet_table(source: str) -> Table:
    """Return the table in a Parquet file, read by the library that datasets are kept with.

    Raises:
        UserError: the extra is not installed.
        DataError: it is no Parquet file.
    """
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        hint = "pip install 'xeric[hub]', or save it as .csv or .jsonl"
        raise UserError("reading a Parquet file needs the extra 'hub'", where=source, hint=hint) from None
    try:
        loaded = parquet.read_table(source)
    except (OSError, ValueError) as error:  # pyarrow's own errors are children of these
        raise DataError(f"is no Parquet file that can be read: {str(error).splitlines()[0][:120]}", where=source) from None
    rows = [{nfc(key): value for key, value in row.items()} for row in loaded.to_pylist()]
    return Table(
        tuple(nfc(column) for column in loaded.column_names), [(f"{source}, row {n}", row) for n, row in enumerate(rows)]
    )


def _load(datasets: Any, source: str, is_folder: bool, split: str, subset: str | None, revision: str | None) -> Any:
    if not (is_folder and any((Path(source) / name).is_file() for name in _SAVED)):
        return datasets.load_dataset(source, subset, split=split, revision=revision)
    loaded = datasets.load_from_disk(source)
    if isinstance(getattr(loaded, "column_names", None), list):
        return loaded
    if split not in loaded:
        raise UserError(f"there is no split {split!r}", where=source, hint=f"give --split {' or '.join(map(str, loaded))}")
    return loaded[split]


def _as_is(value: Any) -> Any:
    return value


def _names(feature: Any) -> Callable[[Any], Any]:
    """Return what turns the values of a feature into texts: names for class labels, alone or in lists."""
    labels = getattr(feature, "names", None)
    if labels is not None and hasattr(feature, "int2str"):
        # A number below 0 stands for no label.
        return lambda value: labels[value] if isinstance(value, int) and 0 <= value < len(labels) else None
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
    if inner is None:
        return _as_is
    name = _names(inner)
    return lambda value: [name(item) for item in value] if isinstance(value, list) else value
