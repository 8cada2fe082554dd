"""Counted predictions in a file beside the predictions, so that nobody tokenises them again.

``predictions.jsonl`` has ``predictions.statistics.npz``: one array for each metric and each group of rows (task and language),
``[rows, columns]``, and a JSON header with ids, languages, a hash of each row's references, each metric's columns and signature,
and the SHA-256 of the predictions file that was counted. A file whose hash does not fit its predictions is made again, never
believed. Where the predictions themselves are gone (a published study without texts) the statistics stand for them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xeric.errors import DataError, StorageError
from xeric.files import reading, write_atomically
from xeric.metrics import METRICS
from xeric.metrics.base import Signature, Statistics
from xeric.metrics.measuring import Group, Measured, measure
from xeric.record_io import read_predictions

__all__ = ["has_results", "measured", "renewed", "statistics_content", "statistics_file", "stored_metrics", "write_statistics"]

_FORMAT = 1
_HEADER = "header"


def statistics_file(predictions: Path) -> Path:
    """Return where the statistics of a predictions file lie."""
    return predictions.with_name(f"{predictions.name.removesuffix('.jsonl')}.statistics.npz")


def has_results(predictions: Path) -> bool:
    """Say whether there is anything to score: predictions that are not empty, or their statistics."""
    with reading(predictions):
        return (predictions.is_file() and predictions.stat().st_size > 0) or statistics_file(predictions).is_file()


def measured(predictions: Path, names: Sequence[str]) -> Measured:
    """Return the counted predictions of a file: from its statistics, or counted now and written beside it.

    Args:
        predictions: a ``predictions.jsonl``; it may be gone where its statistics are there.
        names: of metrics.

    Raises:
        DataError: the file holds no predictions, or they cannot be scored.
        UnknownNameError: a metric is not known.
    """
    for name in names:
        METRICS.check(name)
    with reading(predictions):
        content = predictions.read_bytes() if predictions.is_file() else None
    stored = _read(statistics_file(predictions), content)
    if stored is not None and set(names) <= set(stored.metrics):
        return stored.only(names)
    if content is None:
        missing = sorted(set(names) - set(stored.metrics if stored else ()))
        raise DataError(f"its texts are not here, and its statistics lack {', '.join(missing)}", where=str(predictions))
    kept = [name for name in (stored.metrics if stored else ()) if name not in names]
    # Without leave to write here, it is counted again the next time.
    with contextlib.suppress(StorageError):
        return renewed(predictions, [*names, *kept]).only(names)
    return measure(read_predictions(predictions), names)


def renewed(predictions: Path, names: Sequence[str]) -> Measured:
    """Count a predictions file anew, whatever its statistics say, and write them beside it.

    Raises:
        DataError: the file holds no predictions, or they cannot be scored.
        StorageError: the statistics cannot be written.
    """
    counted = measure(read_predictions(predictions), names)
    write_statistics(predictions, counted)
    return counted


def statistics_content(predictions: Path, names: Sequence[str]) -> bytes:
    """Return what the statistics file of predictions holds or, where none can be written there, would hold.

    Args:
        predictions: as in :func:`measured`.
        names: as in :func:`measured`.

    Raises:
        DataError: as in :func:`measured`.
    """
    counted, file = measured(predictions, names), statistics_file(predictions)
    with reading(predictions):
        content = predictions.read_bytes() if predictions.is_file() else None
    stored = _read(file, content)
    if stored is not None and set(names) <= set(stored.metrics):
        with reading(file):
            return file.read_bytes()
    return _serialised(predictions, counted)


def stored_metrics(predictions: Path) -> list[str]:
    """Return the metrics that a predictions file has statistics of, whether or not these fit it still."""
    stored = _read(statistics_file(predictions), None)
    return list(stored.metrics) if stored else []


def write_statistics(predictions: Path, counted: Measured) -> None:
    """Write the statistics of a predictions file that is written already; the same statistics give the same bytes.

    Args:
        predictions: the file that was counted.
        counted: by metrics with their default settings.
    """
    write_atomically(statistics_file(predictions), _serialised(predictions, counted))


def _serialised(predictions: Path, counted: Measured) -> bytes:
    with reading(predictions):
        digest = hashlib.sha256(predictions.read_bytes()).hexdigest()
    arrays: dict[str, Any] = {}
    groups = []
    for number, group in enumerate(counted.groups):
        metrics = {}
        for name in counted.metrics:
            statistics = group.statistics[name]
            arrays[f"{number}/{name}"] = statistics.rows
            metrics[name] = {
                "columns": list(statistics.columns),
                "signature": statistics.signature.choices,
                "defined": statistics.defined,
                "note": statistics.note,
            }
        references = [counted.rows[group.task, row_id][1] for row_id in group.ids]
        groups.append(
            {
                "task": group.task,
                "language": group.language,
                "weight": group.weight,
                "ids": list(group.ids),
                "references": references,
                "metrics": metrics,
                **({"owners": list(group.owners)} if group.owners else {}),
            }
        )
    header = {"format": _FORMAT, "predictions": digest, "groups": groups}
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(header, ensure_ascii=True).encode(), dtype=np.uint8)
    np.savez_compressed(buffer, **{_HEADER: text, **arrays})
    return buffer.getvalue()


def _read(path: Path, predictions: bytes | None) -> Measured | None:
    """Return what a file holds; None where it is not there, cannot be read or does not belong to these predictions."""
    with reading(path):
        if not path.is_file():
            return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            header = json.loads(arrays[_HEADER].tobytes())
            if header["format"] != _FORMAT:
                return None
            if predictions is not None and header["predictions"] != hashlib.sha256(predictions).hexdigest():
                return None
            return _measured(header["groups"], arrays)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def _measured(described: Sequence[dict[str, Any]], arrays: Any) -> Measured:
    groups, rows = [], {}
    metrics = {name: METRICS.get(name)() for name in METRICS.names() if name in described[0]["metrics"]}
    # A metric that counts other columns by now has to count anew.
    columns_then = {name: tuple(about["columns"]) for name, about in described[0]["metrics"].items()}
    metrics = {name: metric for name, metric in metrics.items() if metric.columns == columns_then[name]}
    for number, group in enumerate(described):
        statistics = {}
        for name in metrics:
            about = group["metrics"][name]
            signature, columns = Signature(name, about["signature"]), tuple(about["columns"])
            statistics[name] = Statistics(arrays[f"{number}/{name}"], columns, signature, about["defined"], about["note"])
        groups.append(
            Group(
                group["task"], group["language"], group["weight"], tuple(group["ids"]), statistics, tuple(group.get("owners", ()))
            )
        )
        for row_id, references in zip(group["ids"], group["references"], strict=True):
            rows[group["task"], row_id] = group["language"], references
    return Measured(metrics, tuple(groups), rows)
