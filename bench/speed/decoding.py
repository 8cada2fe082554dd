"""Greedy decoding of the same rows by a base as it is, in several ways; the texts are compared.

In bf16 the others compute wholly in bf16, which is their fastest. All decode rows of like length together, the longest first.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, GenerationConfig

import xeric
from bench.speed.jobs import Job, Result, Skipped
from bench.speed.rows import task_of
from xeric.decoding import DecodeOptions
from xeric.decoding import decode as decode_ours

Ids = list[int]

_PAGE = 32
_TOKENS_PER_PASS = 256


@torch.no_grad()
def decode(job: Job) -> Result:
    torch.set_num_threads(job["threads"])
    return ENGINES[job["engine"]](job)


def timed(work: Callable[[Sequence[Ids]], list[str]], job: Job) -> Result:
    """Time the decoding of all rows, after one of a few that is not counted."""
    work(job["rows"][:2])
    start = time.perf_counter()
    texts = work(job["rows"])
    return {"seconds": time.perf_counter() - start, "texts": texts}


def up_to_end(ids: Ids, ends: Sequence[int]) -> Ids:
    return ids[: next((position for position, token in enumerate(ids) if token in ends), len(ids))]


def ours(job: Job) -> Result:
    base = xeric.load_base(job["base"], device="cpu", precision=job["precision"])
    options = DecodeOptions(batch_size=job["batch"])

    def work(rows: Sequence[Ids]) -> list[str]:
        return decode_ours(base, task_of(job["prefix"], [(row, 0) for row in rows]), options, max_new_tokens=job["new"])

    return timed(work, job)


class Plain:
    """A model and its tokenizer as transformers gives them."""

    def __init__(self, job: Job) -> None:
        dtype = torch.float32 if job["precision"] == "fp32" else torch.bfloat16
        self.model: Any = AutoModelForCausalLM.from_pretrained(job["folder"], dtype=dtype, local_files_only=True).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(job["folder"], local_files_only=True)
        self.job = job
        self.new: list[int] = []  # tokens that each row of the last call wrote, its end included
        self.config = GenerationConfig(
            max_new_tokens=job["new"], do_sample=False, eos_token_id=job["eos"], pad_token_id=job["pad"]
        )

    def text(self, ids: Ids) -> str:
        written = up_to_end(ids, self.job["eos"])
        return str(self.tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)).strip()

    def in_batches(self, rows: Sequence[Ids], write: Callable[[Sequence[Ids]], list[Ids]]) -> list[str]:
        """Return the texts of rows, decoded batch by batch."""
        order = sorted(range(len(rows)), key=lambda number: -len(rows[number]))
        texts: dict[int, str] = {}
        lengths: dict[int, int] = {}
        for start in range(0, len(order), self.job["batch"]):
            batch = order[start : start + self.job["batch"]]
            written = write([rows[number] for number in batch])
            texts |= {number: self.text(ids) for number, ids in zip(batch, written, strict=True)}
            lengths |= {
                number: min(len(up_to_end(ids, self.job["eos"])) + 1, self.job["new"])
                for number, ids in zip(batch, written, strict=True)
            }
        self.new = [lengths[number] for number in range(len(rows))]
        return [texts[number] for number in range(len(rows))]


def by_generate(job: Job, *, contiguous: bool = False) -> Result:
    """Batched ``generate`` on whole rows, padded on the left.

    Args:
        job: the job.
        contiguous: with the output layer's input made contiguous, which ``generate`` does not do.
    """
    plain = Plain(job)
    if contiguous:
        layer = plain.model.get_output_embeddings()
        layer.register_forward_pre_hook(lambda _, args: (args[0].contiguous(), *args[1:]))

    def write(rows: Sequence[Ids]) -> list[Ids]:
        whole = [job["prefix"] + row for row in rows]
        width = max(map(len, whole))
        ids = torch.tensor([[job["pad"]] * (width - len(row)) + row for row in whole])
        present = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in whole])
        output = plain.model.generate(input_ids=ids, attention_mask=present, generation_config=plain.config)
        new: list[Ids] = output[:, width:].tolist()
        return new

    result = timed(lambda rows: plain.in_batches(rows, write), job)
    return {**result, "new": plain.new}


def by_generate_from_cache(job: Job) -> Result:
    """Batched ``generate`` that goes on from the keys and values of the prefix, computed once per call and copied for each batch.

    As transformers' documentation does it; padding stands between prefix and row, which a sliding window sees as distance.
    """
    plain = Plain(job)
    if not job["prefix"]:
        raise Skipped("there is no prefix")

    def decoded(rows: Sequence[Ids]) -> list[str]:
        cache = DynamicCache(config=plain.model.config)
        plain.model(input_ids=torch.tensor([job["prefix"]]), past_key_values=cache, use_cache=True, logits_to_keep=1)

        def write(batch: Sequence[Ids]) -> list[Ids]:
            own = copy.deepcopy(cache)
            own.batch_repeat_interleave(len(batch))
            width = max(map(len, batch))
            prefix = job["prefix"]
            ids = torch.tensor([prefix + [job["pad"]] * (width - len(row)) + row for row in batch])
            present = torch.tensor([[1] * len(prefix) + [0] * (width - len(row)) + [1] * len(row) for row in batch])
            output = plain.model.generate(
                input_ids=ids, attention_mask=present, past_key_values=own, generation_config=plain.config
            )
            new: list[Ids] = output[:, ids.shape[1] :].tolist()
            return new

        return plain.in_batches(rows, write)

    return timed(decoded, job)


def by_continuous_batching(job: Job) -> Result:
    """transformers' continuous batching: rows join and leave; blocks of a common prefix are shared."""
    from transformers import ContinuousBatchingConfig

    plain = Plain(job)
    # Room for all rows at once and no more, and few tokens per pass: on a processor both make it faster than its defaults do.
    setting = ContinuousBatchingConfig(page_size=_PAGE, max_batch_tokens=_TOKENS_PER_PASS)
    setting.num_blocks = 1 + sum(-(-(len(job["prefix"]) + len(row) + job["new"]) // _PAGE) for row in job["rows"])

    def work(rows: Sequence[Ids]) -> list[str]:
        outputs = plain.model.generate_batch(
            [job["prefix"] + row for row in rows], generation_config=plain.config, continuous_batching_config=setting
        )
        by_number = sorted(outputs.items(), key=lambda item: int(item[0].rpartition("_")[2]))
        if len(by_number) != len(rows):
            raise RuntimeError(f"{len(by_number)} texts for {len(rows)} rows")
        first = int(by_number[0][0].rpartition("_")[2])
        assert [int(name.rpartition("_")[2]) - first for name, _ in by_number] == list(range(len(rows)))
        return [plain.text(output.generated_tokens) for _, output in by_number]

    return timed(work, job)


def by_llama_cpp(job: Job) -> Result:
    """llama.cpp on matrices of 16 bit, row by row; it keeps the keys and values of the beginning that two rows share."""
    from llama_cpp import Llama

    if not job.get("gguf"):
        raise Skipped("the base's family cannot be written as a GGUF file")
    longest = len(job["prefix"]) + max(map(len, job["rows"])) + job["new"]
    model = Llama(job["gguf"], n_ctx=longest + 8, n_threads=job["threads"], n_threads_batch=job["threads"], verbose=False)
    tokenizer = AutoTokenizer.from_pretrained(job["folder"], local_files_only=True)

    def written(row: Ids) -> str:
        new: Ids = []
        for token in model.generate(job["prefix"] + row, temp=0.0, repeat_penalty=1.0):
            if token in job["eos"]:
                break
            new.append(token)
            if len(new) == job["new"]:
                break
        return str(tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)).strip()

    return timed(lambda rows: [written(row) for row in rows], job)


def by_vllm(job: Job) -> Result:
    """vLLM on a processor, where a build of it stands in the same environment."""
    from vllm import LLM, SamplingParams

    model = LLM(job["folder"], dtype="float32" if job["precision"] == "fp32" else "bfloat16", max_num_seqs=job["batch"])
    choices = SamplingParams(temperature=0.0, max_tokens=job["new"], stop_token_ids=job["eos"])

    def work(rows: Sequence[Ids]) -> list[str]:
        outputs = model.generate([{"prompt_token_ids": job["prefix"] + row} for row in rows], choices, use_tqdm=False)
        return [str(output.outputs[0].text).strip() for output in outputs]

    return timed(work, job)


ENGINES: dict[str, Callable[[Job], Result]] = {
    "ours": ours,
    "generate": by_generate,
    "generate, contiguous": lambda job: by_generate(job, contiguous=True),
    "generate, prefix cache": by_generate_from_cache,
    "continuous batching": by_continuous_batching,
    "llama.cpp, f16": by_llama_cpp,
    "vLLM": by_vllm,
}
