"""``--to merged``: one model in the Hugging Face layout, the method folded into the base's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from transformers import AutoTokenizer

from xeric.exporting.example import python_example
from xeric.exporting.measuring import check_tokens, measure, refuse_other
from xeric.exporting.parts import Division, fold, refuse_unmergeable
from xeric.exporting.prompt_layout import prompt_layout
from xeric.exporting.target import Job, Target, Written, open_model, save_model
from xeric.methods.base import MethodOptions

__all__ = ["MERGED", "divide", "texts_of"]


def divide(method: MethodOptions, parts: Mapping[str, MethodOptions]) -> Division:
    """Fold every part into the weights.

    Raises:
        UserError: a part has no equal among the weights.
    """
    refuse_unmergeable(method, parts)
    return Division(folded=tuple(parts))


def texts_of(layout: Mapping[str, Any], job: Job) -> Iterator[str]:
    """Yield texts that an exported tokenizer must turn into the same tokens: those of the prompts, inputs and answers."""
    for task in layout["tasks"].values():
        yield from (segment["text"] for segment in task["segments"] if not segment["special"])
    yield from (text for _, text in job.source.inputs)
    yield from (row.text for row in job.sample.rows)


def _write(job: Job) -> Written:
    fold(job.saved, job.division.folded, job.base)
    layout = prompt_layout(job.saved, job.base)
    notes = save_model(job, job.folder)
    tokenizer = AutoTokenizer.from_pretrained(job.folder, local_files_only=True, trust_remote_code=False)
    check_tokens(job.base, tokenizer, texts_of(layout, job))
    difference = measure(job.sample, open_model(job.folder, job.base))
    if not job.division.left_out:
        refuse_other(difference, "the merged model", exact=job.exact)
    return Written(layout, difference, tuple(notes))


def _example(job: Job, layout: Mapping[str, Any]) -> str:
    imports = "from transformers import AutoModelForCausalLM, AutoTokenizer"
    opening = 'tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModelForCausalLM.from_pretrained(".")'
    return python_example(layout, imports, opening)


MERGED = Target("merged", divide, _write, _example, "transformers")
