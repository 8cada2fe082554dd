"""What follows the training of a run: the adapter is saved, the splits are decoded and scored, and all of it is put on record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xeric.json_io import write_jsonl
from xeric.metrics import METRICS, PRIMARY, score_measured
from xeric.metrics.stored import renewed
from xeric.records import PREDICTION_FILES, Prediction, Record, Split, TaskResult, versions
from xeric.run.adapter_files import save_adapted
from xeric.run.baselines import KnownScores, score_baselines
from xeric.run.config import RunConfig
from xeric.run.cost import Stopwatch
from xeric.run.folder import ADAPTER
from xeric.run.source import inputs_used
from xeric.run.start import Before
from xeric.run.task_session import TaskSession
from xeric.training.memory import MemoryEstimate
from xeric.training.result import TrainResult

__all__ = ["finish"]


def finish(
    config: RunConfig,
    folder: Path,
    identity: str,
    session: TaskSession,
    result: TrainResult,
    estimate: MemoryEstimate,
    watch: Stopwatch,
    before: Before,
    baseline_scores: KnownScores,
) -> Record:
    """Save, decode and score what was trained.

    Args:
        config: of the run.
        folder: where adapter and predictions are written.
        identity: of the run.
        session: whose adaptation was trained.
        result: how the training went; nothing is decoded where it diverged.
        estimate: of the memory.
        watch: that measures the run.
        before: what was trained before the run's own tasks.
        baseline_scores: shared by several runs; entries are added.

    Returns:
        The record, which is not yet written.
    """
    results: dict[str, Any] = {"scores": {}, "tasks": {}}
    if result.status == "ok":
        # Saved first, so that an error in decoding or scoring does not lose what was trained.
        _save(config, folder, session, before)
        results = _decode_and_score(config, folder, session, watch, baseline_scores)
    base = session.base
    return Record(
        run_id=identity,
        status=result.status,
        method=config.method.name,
        base={
            "architecture": base.architecture.name,
            "sha256": base.sha256,
            "context": base.context,
            "parameters": base.parameters,
        },
        planned_steps=result.planned_steps,
        done_steps=result.done_steps,
        best_step=result.best_step,
        **results,
        task_weights=result.task_weights,
        resolved=session.resolved | ({"train.max_steps": result.planned_steps} if result.time else {}),
        seeds=config.all_seeds,
        parameters={
            "trainable": sum(p.numel() for p in session.adaptation.trainable().values()),
            "total": sum(p.numel() for p in base.model.parameters()),
        },
        fingerprint=session.data.fingerprint,
        leaks=session.data.leaks,
        source=dict(before.source),
        stages=[{key: value for key, value in stage.items() if key != "cost"} for stage in before.stages],
        deterministic="bytes" if base.device.type == "cpu" and result.time is None else "seeds",
        versions=versions(),
        cost={**watch.cost(result, estimate, session.processes.count), "stages": {s["id"]: s["cost"] for s in before.stages}},
    )


def _save(config: RunConfig, folder: Path, session: TaskSession, before: Before) -> None:
    save_adapted(
        folder / ADAPTER,
        session.adaptation,
        base=config.base,
        method=config.method.model_dump(mode="json"),
        prompts={rows.data.name: rows.prompt for rows in session.rows},
        max_new_tokens=session.limit,
        options=session.decoding,
        seed=config.all_seeds["decode"],
        definitions=session.data.definitions,
        stages=before.merged,
        trained_on=before.trained_on | inputs_used([session.data]) if session.trains else before.trained_on,
    )


def _decode_and_score(
    config: RunConfig, folder: Path, session: TaskSession, watch: Stopwatch, baseline_scores: KnownScores
) -> dict[str, Any]:
    """Decode, write the predictions and score them; return the fields of the record that follow from them."""
    predictions: dict[Split, list[Prediction]] = {}
    for split in config.predict:
        with watch.measure("test" if split == "test" else "decode dev"):
            predictions[split] = session.predict(split)
        write_jsonl(folder / PREDICTION_FILES[split], predictions[split])
    names = config.metrics or tuple(METRICS.names())
    with watch.measure("score"):
        # Dev scores are used only to choose among runs, by the primary metric.
        counted = {
            split: renewed(folder / PREDICTION_FILES[split], names if split == "test" else [PRIMARY])
            for split, rows in predictions.items()
            if rows
        }
        if "test" not in counted:
            return {"scores": {}, "tasks": {}}
        report = score_measured(counted["test"], seed=config.seeds.bootstrap)
    with watch.measure("baselines"):
        seeds = {"seed": config.seed, "bootstrap": config.seeds.bootstrap}
        baselines = score_baselines(session.data, names, **seeds, cache=baseline_scores)
    tasks = {
        rows.data.name: TaskResult(
            scores=report.tasks[rows.data.name],
            data={**rows.data.counts, "cuts": session.cuts[rows.data.name], "ended": session.ended[rows.data.name]},
            fingerprint=rows.data.fingerprint,
        )
        for rows in session.rows
    }
    return {"scores": report.scores, "score_notes": report.notes, "tasks": tasks, "baselines": baselines}
