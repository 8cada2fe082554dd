"""What an unadapted base makes of tasks it has never seen: the figures that a pretraining mixture is chosen by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from xeric.metrics.rouge import Rouge
from xeric.training.bpe import EOS, PAD
from xeric.training.corpus import Corpus
from xeric.training.mixture import Mixture
from xeric.training.source_tasks import SourceTask

__all__ = ["generate", "measure_dev_tasks"]

_LANGUAGE = "English"  # of every task in Natural Instructions that a dev task is taken from
_NEW_TOKENS = 48
_BATCH = 25


def measure_dev_tasks(model: Any, corpus: Corpus, mixture: Mixture, *, rows: int = 100) -> dict[str, dict[str, float | None]]:
    """Return ROUGE-L (0-100) by dev task of greedy answers, ``zero-shot`` and ``few-shot`` (2 demonstrations), and of a ``copy``.

    None stands where no row fits into the context.

    Args:
        model: with its weights, unadapted.
        corpus: whose dev tasks to answer.
        mixture: lays out rows.
        rows: at most so many of each task; those too long for the context are left out.
    """
    context = int(model.config.max_position_embeddings)
    found: dict[str, dict[str, float | None]] = {}
    for task in corpus.dev:
        found[task.name] = {"copy": _rouge(task.pairs[:rows], [source for source, _ in task.pairs[:rows]])}
        for name, shown in (("zero-shot", 0), ("few-shot", 2)):
            pairs = [pair for pair in task.pairs[:rows] if len(_prompt(mixture, task, pair, shown)) + _NEW_TOKENS <= context]
            prompts = [_prompt(mixture, task, pair, shown) for pair in pairs]
            found[task.name][name] = _rouge(pairs, generate(model, corpus, prompts, _NEW_TOKENS)) if pairs else None
    return found


def _prompt(mixture: Mixture, task: SourceTask, pair: tuple[str, str], shown: int) -> list[int]:
    examples = [*task.examples[:shown], (pair[0], "")]
    ids, places = mixture.encode(task.definition, examples)
    # The last target is " " and EOS here; it is what the model is to write.
    return ids[: len(ids) - sum(place >= len(ids) - 2 for place in places)]


def _rouge(pairs: Sequence[tuple[str, str]], texts: Sequence[str]) -> float:
    metric = Rouge()
    return float(metric.score(metric.statistics(texts, [[y] for _, y in pairs], [x for x, _ in pairs], _LANGUAGE)))


@torch.no_grad()
def generate(model: Any, corpus: Corpus, prompts: Sequence[Sequence[int]], limit: int) -> list[str]:
    """Return what greedy decoding writes after each prompt, at most ``limit`` tokens."""
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]))
    texts = [""] * len(prompts)
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        width = max(len(prompts[n]) for n in batch)
        ids = torch.tensor([[*[PAD] * (width - len(prompts[n])), *prompts[n]] for n in batch])
        mask = torch.tensor([[0] * (width - len(prompts[n])) + [1] * len(prompts[n]) for n in batch])
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
        for n, row in zip(batch, output[:, width:].tolist(), strict=True):
            end = row.index(EOS) if EOS in row else len(row)
            texts[n] = str(corpus.tokenizer.decode(row[:end])).strip()
    return texts
