"""Exporting a finished run, from its folder to the new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from xeric.errors import UnknownNameError, UserError
from xeric.exporting.folder import check_free, describe, new_folder
from xeric.exporting.gguf import GGUF
from xeric.exporting.gguf_adapter import GGUF_ADAPTER
from xeric.exporting.gguf_tensors import Quantisation
from xeric.exporting.measuring import take_sample
from xeric.exporting.merged import MERGED
from xeric.exporting.model_card import model_card
from xeric.exporting.parts import attached, parts_of, remaining
from xeric.exporting.peft import PEFT
from xeric.exporting.prompt_layout import LAYOUT_FILE
from xeric.exporting.source import Source, open_base, read_source
from xeric.exporting.target import ExportPrecision, Job, Target, Written
from xeric.files import write_atomically
from xeric.json_io import write_json
from xeric.progress import Progress, Silent
from xeric.run.adapter_files import read_adapter

__all__ = ["TARGETS", "Export", "export_run"]

TARGETS: dict[str, Target] = {target.name: target for target in (PEFT, MERGED, GGUF, GGUF_ADAPTER)}


@dataclass(frozen=True)
class Export:
    """A finished export.

    Attributes:
        folder: where it is.
        description: what its ``export.json`` says beside its files: target, run, what was folded in and left out, the measured
            difference.
        notes: what the user should know.
    """

    folder: Path
    description: dict[str, Any]
    notes: tuple[str, ...]


def export_run(
    run: Path,
    to: str,
    folder: Path,
    *,
    task: str | None = None,
    precision: ExportPrecision = "fp32",
    quantisation: Quantisation = "f16",
    without: Sequence[str] = (),
    with_base: bool = False,
    base: str | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Export:
    """Write a finished run in the form that another program opens; see :func:`xeric.api.export`.

    Raises:
        UserError: an argument is unknown, the folder is not free, or the target cannot express the run.
        RunError: what was written computes something else than the run; nothing is left of it.
    """
    progress = progress or Silent()
    target = _named("target", to, TARGETS)
    _named("precision", precision, dict.fromkeys(get_args(ExportPrecision)))
    _named("quantisation", quantisation, dict.fromkeys(get_args(Quantisation)))
    check_free(folder)
    method = read_adapter(run).method
    kept = remaining(method, without)
    division = replace(target.divide(method, kept), left_out=tuple(dict.fromkeys(without)))
    source = read_source(run, task, list(kept))
    progress.start(f"export to {to}", 3)
    opened = open_base(source, base, device)
    if opened.architecture.name != "causal":
        raise UserError(
            f"{opened.name} is no causal model, and exports are of causal models",
            where=str(run),
            hint="use it with `xeric generate`, or with PEFT from its adapter/ where the method is one of PEFT's",
        )
    progress.advance(1)
    adaptation = attached(source.saved, list(parts_of(method)), opened)
    sample = take_sample(opened, source.saved, source.inputs)
    adaptation.detach()
    progress.advance(1)
    with new_folder(folder) as work:
        job = Job(source, opened, sample, division, work, folder, precision, quantisation, with_base)
        written = target.write(job)
        description = _description(target, job, written)
        write_json(work / LAYOUT_FILE, written.layout)
        write_atomically(work / "README.md", model_card(target, job, written))
        describe(work, description)
    progress.advance(1)
    return Export(folder, description, tuple(_notes(source, job, written)))


def _named(kind: str, name: str, choices: dict[str, Any]) -> Any:
    if name not in choices:
        raise UnknownNameError(kind, name, choices)
    return choices[name]


def _description(target: Target, job: Job, written: Written) -> dict[str, Any]:
    record = job.source.record
    return {
        "to": target.name,
        "run": record.run_id if record else None,
        "base": {"name": job.base.name, "weights": job.saved.weights},
        "method": job.saved.method.model_dump(mode="json"),
        "tasks": list(job.saved.prompts),
        "precision": job.precision if target.library != "gguf" else job.quantisation,
        "adapter": job.division.adapter,
        "folded": list(job.division.folded),
        "left_out": list(job.division.left_out),
        "difference": written.difference.described() if written.difference else None,
        "notes": list(written.notes),
    }


def _notes(source: Source, job: Job, written: Written) -> list[str]:
    notes = [*written.notes]
    if job.division.left_out:
        notes.append(f"left out: {', '.join(job.division.left_out)}; this is not the model of the run")
    if source.saved.precision != "fp32":
        notes.append(f"the run was computed in {source.saved.precision}; what it is compared with here is computed in float32")
    return [*notes, *([str(written.difference)] if written.difference else [])]
