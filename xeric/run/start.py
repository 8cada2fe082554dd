"""What a run starts from: the base, stages before its own tasks, or a finished run that it goes on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xeric.bases.base import Base
from xeric.data.preparing import Prepared
from xeric.methods.base import Adaptation
from xeric.progress import Progress
from xeric.run.config import RunConfig
from xeric.run.source import Source, inputs_used, read_source
from xeric.run.stage_store import StageStore
from xeric.run.stage_training import MergedStage, attach_after
from xeric.run.stages import PlannedStage
from xeric.training.processes import Processes

__all__ = ["Before", "attach", "find_source"]


@dataclass(frozen=True)
class Before:
    """What was trained before a run's own tasks.

    Attributes:
        merged: what of it is merged into the base's weights.
        stages: descriptions for the record.
        source: of the run that it goes on from, for the record.
        trained_on: hashes of the inputs it was trained on.
    """

    merged: Sequence[MergedStage]
    stages: Sequence[dict[str, Any]] = ()
    source: Mapping[str, str] = field(default_factory=dict)
    trained_on: frozenset[str] = frozenset()


def find_source(config: RunConfig, data: Prepared) -> Source | None:
    """Return the run that a config goes on from, or None where it starts from the base.

    Raises:
        UserError: there is no such run, or it does not fit the method or the data.
    """
    if config.from_run is None:
        return None
    source = read_source(config.from_run)
    source.check_method(config.method, config.precision)
    source.check_untested(data)
    return source


def attach(
    start: Source | list[PlannedStage],
    config: RunConfig,
    data: Prepared,
    base: Base,
    store: StageStore,
    progress: Progress,
    processes: Processes,
) -> tuple[Adaptation, Before]:
    """Attach a run's method to the base, after what was trained before; stages that are not in the store are trained.

    Args:
        start: the run that this one goes on from, or its stages.
        config: of the run.
        data: its tasks.
        base: without a method.
        store: keeps finished stages.
        progress: is told what happens.
        processes: that carry out the run together.

    Raises:
        DataError: the base has other weights than the run's that this one goes on from.
        RunError: the loss of a stage was no longer finite.
    """
    if isinstance(start, Source):
        adaptation, merged = start.attach(base, config.method, data.definitions, config.all_seeds["init"])
        how = "parameters" if config.method == start.saved.method else "merged"
        source = {"run_id": start.run_id, "adapter": start.identity, "how": how}
        return adaptation, Before(merged, source=source, trained_on=start.inputs)
    used = inputs_used(stage.data for stage in start if isinstance(stage.data, Prepared))
    adaptation, merged, stages = attach_after(start, config, data, base, store, progress, processes)
    return adaptation, Before(merged, stages, trained_on=frozenset(used))
