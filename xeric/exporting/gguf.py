"""``--to gguf``: one GGUF file for llama.cpp, the method folded into the base's weights (Gerganov et al., GGUF v3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from xeric.bases.gguf import read_gguf, read_model, read_tokenizer
from xeric.bases.gguf_header import KeyValue
from xeric.exporting.example import llama_cpp_example
from xeric.exporting.gguf_metadata import model_metadata
from xeric.exporting.gguf_tensors import model_tensors
from xeric.exporting.measuring import check_tokens, measure, refuse_other
from xeric.exporting.merged import divide, texts_of
from xeric.exporting.parts import fold
from xeric.exporting.prompt_layout import prompt_layout
from xeric.exporting.target import Job, Target, Written
from xeric.files import replacing

__all__ = ["GGUF", "MODEL_FILE", "write_base", "write_gguf"]

MODEL_FILE = "model.gguf"

Tensor = tuple[str, np.ndarray[Any, Any], gguf.GGMLQuantizationType]
"""Name, content and type of a tensor of a file."""


def write_gguf(path: Path, metadata: Mapping[str, KeyValue], tensors: Iterable[Tensor]) -> None:
    """Write a GGUF file, atomically.

    Args:
        path: of the file.
        metadata: its keys, ``general.architecture`` among them.
        tensors: of the file.

    Raises:
        StorageError: the file system refuses.
    """
    with replacing(path) as temporary:
        writer = gguf.GGUFWriter(temporary, metadata["general.architecture"].value)
        for key, value in metadata.items():
            if key != "general.architecture":  # the writer has put it there
                writer.add_key_value(key, value.value, value.kind, sub_type=value.items)
        for name, content, kind in tensors:
            writer.add_tensor(name, content, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def write_base(job: Job, path: Path) -> str:
    """Write the job's base, as it is now, and return where its metadata come from.

    Raises:
        UserError: its family or its tokenizer cannot be written.
    """
    name = job.source.record.run_id if job.source.record else job.source.folder.name
    metadata, origin = model_metadata(job.base, name, job.quantisation)
    write_gguf(path, metadata, model_tensors(job.base.model, job.quantisation))
    return origin


def _write(job: Job) -> Written:
    fold(job.saved, job.division.folded, job.base)
    layout = prompt_layout(job.saved, job.base)
    origin = write_base(job, job.folder / MODEL_FILE)
    written = read_gguf(job.folder / MODEL_FILE)
    check_tokens(job.base, read_tokenizer(written)[0], texts_of(layout, job))
    difference = measure(job.sample, read_model(written).to(job.base.device).eval())  # type: ignore[arg-type]
    if not job.division.left_out:
        refuse_other(difference, "the GGUF file", exact=False)
    return Written(layout, difference, (origin,))


def _example(job: Job, layout: Mapping[str, Any]) -> str:
    opening = f'llm = Llama("{MODEL_FILE}", n_ctx={min(job.base.context, 2048)}, verbose=False)'
    return llama_cpp_example(layout, opening)


GGUF = Target("gguf", divide, _write, _example, "gguf")
