"""The model card of an export (``README.md``): base, licence, language, scores with intervals, data, and how to use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xeric.bases.named import GEMMA_NOTICE, NAMED_BASES
from xeric.bases.store import source_of
from xeric.exporting.prompt_layout import LAYOUT_FILE, penalties_of
from xeric.exporting.source import Source
from xeric.exporting.target import Job, Target, Written
from xeric.files import expanded
from xeric.formatting import estimate
from xeric.languages import language_or_unknown
from xeric.records import Record, Score
from xeric.yaml_io import dump_yaml

__all__ = ["model_card"]


def model_card(target: Target, job: Job, written: Written) -> str:
    """Return the card in Markdown, with the header that the model hub reads.

    Args:
        target: of the export.
        job: the export.
        written: what the target wrote.
    """
    source, tasks = job.source, ", ".join(job.saved.prompts)
    license_, url = _license(job)
    lines = [
        _header(target, job, license_),
        f"# {tasks}: {_base(job)} adapted with {job.saved.method.name}",
        "",
        "| | |",
        "|---|---|",
        f"| base | {_base(job)}, weights SHA-256 `{job.saved.weights}` |",
        f"| licence of the base | {license_}{f', {url}' if url else ''} |",
        f"| language | {', '.join(_languages(source)) or 'not stated'} |",
        f"| method | {job.saved.method.name}{_stages(job)} |",
        *_of_record(source.record),
        f"| made by | `xeric export --to {target.name}` |",
        "",
        *_scores(source),
        *_notes(job, written),
        "## Use",
        "",
        f"`{LAYOUT_FILE}` says how to ask: the prompt's segments by task, each turned into tokens by itself, as in training.",
        "In this folder:",
        "",
        "```python",
        target.example(job, written.layout),
        "```",
    ]
    if "gemma" in f"{license_} {job.base.name}".lower():
        lines += ["", GEMMA_NOTICE]
    return "\n".join(lines) + "\n"


def _header(target: Target, job: Job, license_: str) -> str:
    """Return the YAML in front of the card."""
    codes = [language_or_unknown(name).code for name in _languages(job.source)]
    identifier = license_.lower() if license_.lower() in ("apache-2.0", "mit", "gemma") else "other"
    fields: dict[str, Any] = {"base_model": _base(job), "license": identifier, "language": codes, "library_name": target.library}
    return f"---\n{dump_yaml({**fields, 'pipeline_tag': 'text-generation', 'tags': ['xeric']}).strip()}\n---\n"


def _base(job: Job) -> str:
    """Return the base's name as others know it: of a file or a folder here, what it is called."""
    path = expanded(job.base.name)
    return path.name if job.base.name not in NAMED_BASES and path.exists() else job.base.name


def _license(job: Job) -> tuple[str, str | None]:
    """Return name and address of the base's licence."""
    if job.base.name in NAMED_BASES:
        named = NAMED_BASES.get(job.base.name)
        return named.license, named.license_url
    stated = (source_of(job.base.source) or {}).get("license")
    return (stated if isinstance(stated, str) else "not stated with the base"), None


def _languages(source: Source) -> list[str]:
    return sorted({row.language for row in source.predictions})


def _stages(job: Job) -> str:
    if not job.saved.stages:
        return ""
    return f", after {len(job.saved.stages)} stages ({', '.join(stage.method.name for stage in job.saved.stages)})"


def _of_record(record: Record | None) -> Iterator[str]:
    if record is None:
        yield "| run | not scored |"
        return
    yield f"| run | `{record.run_id}` of Xeric {record.versions.get('xeric', '')} |"
    yield f"| parameters | {record.parameters.get('trainable', 0):,} trained of {record.parameters.get('total', 0):,} |"
    yield f"| steps | {record.done_steps} |"
    yield f"| data fingerprint | SHA-256 `{record.fingerprint}` |"


def _scores(source: Source) -> Iterator[str]:
    """Yield the scores on the test sets of the exported tasks, with 95% intervals."""
    record = source.record
    tasks = {name: result for name, result in record.tasks.items() if name in source.saved.prompts} if record else {}
    metrics = list(dict.fromkeys(metric for result in tasks.values() for metric in result.scores))
    if not metrics:
        return
    yield "## Scores"
    yield ""
    yield "Of the run, on held-out test instances, with 95% intervals; signatures are in its `record.json`."
    yield ""
    yield f"| task | {' | '.join(metrics)} |"
    yield "|---|" + "---:|" * len(metrics)
    for name, result in tasks.items():
        yield f"| {name} | {' | '.join(_shown(result.scores.get(metric)) for metric in metrics)} |"
    yield ""


def _shown(score: Score | None) -> str:
    return estimate(score.score, score.low, score.high) if score else ""


def _notes(job: Job, written: Written) -> Iterator[str]:
    notes = [*written.notes]
    if job.saved.options.strategy != "greedy":
        notes.append(f"the run decoded by {job.saved.options.strategy}; the example below decodes greedily")
    if penalties := penalties_of(job.saved.options):
        settings = ", ".join(f"{name}={value:g}" for name, value in penalties.items())
        notes.append(f"the run decoded with {settings}; the example below, and the texts compared, are without")
    if job.division.left_out:
        notes.append(f"left out, so that this is not the model of the run: {', '.join(job.division.left_out)}")
    if written.difference:
        notes.append(f"{written.difference}")
    if not notes:
        return
    yield "## What differs from the run"
    yield ""
    yield from (f"- {note[:1].upper()}{note[1:]}." for note in notes)
    yield ""
