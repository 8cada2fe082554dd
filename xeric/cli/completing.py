"""What a shell completes: names of tasks, bases, methods, metrics and bundled studies; no tensor library is loaded for it."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from xeric.errors import XericError

__all__ = ["base_names", "method_names", "metric_names", "setting_names", "study_names", "task_names", "tracker_names"]

_Offer = list[tuple[str, str]]


def _beginning(offers: Iterable[tuple[str, str]], incomplete: str) -> _Offer:
    return [(name, summary) for name, summary in offers if name.startswith(incomplete)]


def method_names(incomplete: str) -> _Offer:
    """Return methods that begin so."""
    from xeric.methods import METHODS

    return _beginning(((entry.name, entry.summary) for entry in METHODS), incomplete)


def metric_names(incomplete: str) -> _Offer:
    """Return metrics that begin so."""
    from xeric.metrics import METRICS

    return _beginning(((entry.name, entry.summary) for entry in METRICS), incomplete)


def base_names(incomplete: str) -> _Offer:
    """Return the bases with names that begin so."""
    from xeric.bases.named import NAMED_BASES

    return _beginning(((entry.name, entry.summary) for entry in NAMED_BASES), incomplete)


def setting_names(incomplete: str) -> _Offer:
    """Return the settings of the paper that begin so."""
    offers = (("zero-shot", "definition only"), ("few-shot", "definition and demonstrations"), ("instruction", "trained"))
    return _beginning(offers, incomplete)


def tracker_names(incomplete: str) -> _Offer:
    """Return the trackers that begin so."""
    return _beginning(((name, "") for name in ("tensorboard", "mlflow", "wandb", "trackio")), incomplete)


def task_names(context: typer.Context, incomplete: str) -> _Offer:
    """Return tasks that begin so: of ``--tasks-dir`` where that stands before, of ``XERIC_TASKS``, and the bundled ones."""
    from xeric.data.catalog import Catalog

    try:
        names = Catalog.of(context.params.get("tasks_dir") or ()).names()
    except XericError:  # a folder that is not there: a line under the cursor is no place to say so
        return []
    return _beginning(((name, "") for name in names), incomplete)


def study_names(incomplete: str) -> _Offer:
    """Return bundled studies that begin so."""
    from xeric.studies.plan import bundled_studies

    return _beginning(((name, "bundled") for name in bundled_studies()), incomplete)
