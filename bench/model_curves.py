"""Real learning curves of a small language model, in the form of task_curves.py: pretrained here for minutes, then tuned.

    OMP_NUM_THREADS=1 python bench/model_curves.py TASKS_DIR -o FOLDER [--tasks 8] [--seeds 1] [--pretraining 1200]

A causal transformer of 1.4 million parameters is pretrained on other tasks' rows and tuned on nested subsets of each task, two to
twenty passes of all weights, as long as a dozen examples and as long as hundreds need. The seed moves the subsets' order and that
of training. What is finished is not computed again.
"""

from __future__ import annotations

import argparse
import random
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from task_curves import SIZES, usable
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from xeric.data.tasks import Instance, load_task
from xeric.metrics.bleu import Chrf

MODEL_SIZES = SIZES[:-1]
TEST_ROWS = 200
_PROMPT, _ANSWER, _BATCH = 80, 28, 16  # tokens, tokens, rows
_PAD, _SEPARATOR, _END = 0, 1, 2


def _tokenizer(texts: Iterator[str]) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<sep>", "<end>"]
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(texts, trainer)
    return made


def _rows(tokenizer: Tokenizer, instances: Sequence[Instance]) -> list[tuple[list[int], list[int]]]:
    return [
        (
            [*tokenizer.encode(row.input).ids[-_PROMPT:], _SEPARATOR],
            [*tokenizer.encode(row.outputs[0]).ids[:_ANSWER], _END],
        )
        for row in instances
    ]


def _train(model: LlamaForCausalLM, rows: Sequence[tuple[list[int], list[int]]], steps: int, rate: float, seed: int) -> None:
    """Train all weights on the answers alone."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 10, 1 - step / steps))
    drawn, order = random.Random(seed), []
    model.train()
    for _ in range(steps):
        if len(order) < min(_BATCH, len(rows)):
            order = drawn.sample(range(len(rows)), len(rows))
        batch = [rows[order.pop()] for _ in range(min(_BATCH, len(rows)))]
        longest = max(len(prompt) + len(answer) for prompt, answer in batch)
        tokens = torch.full((len(batch), longest), _PAD)
        labels = torch.full((len(batch), longest), -100)
        for number, (prompt, answer) in enumerate(batch):
            tokens[number, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            labels[number, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
        model(input_ids=tokens, attention_mask=(tokens != _PAD).long(), labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


@torch.no_grad()
def _answers(model: LlamaForCausalLM, tokenizer: Tokenizer, rows: Sequence[tuple[list[int], list[int]]]) -> list[str]:
    model.eval()
    answers = []
    for start in range(0, len(rows), 50):
        prompts = [prompt for prompt, _ in rows[start : start + 50]]
        longest = max(map(len, prompts))
        tokens = torch.tensor([[_PAD] * (longest - len(prompt)) + prompt for prompt in prompts])
        made = model.generate(
            input_ids=tokens, attention_mask=(tokens != _PAD).long(), max_new_tokens=_ANSWER, do_sample=False, pad_token_id=_PAD
        )
        answers += [tokenizer.decode([token for token in row if token > _END]) for row in made[:, longest:].tolist()]
    return answers


def main() -> None:
    """Pretrain once, then write the curves of each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks_dir", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--pretraining", type=int, default=1200, help="steps")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    paths = sorted(given.tasks_dir.glob("*.json"), key=lambda path: zlib.crc32(path.stem.encode()), reverse=True)
    fit = [(path, instances) for path in paths if (instances := usable(path))]
    targets, sources = fit[: given.tasks], fit[given.tasks :]
    texts = [row for _, instances in sources for row in instances[:400]]
    tokenizer = _tokenizer(f"{row.input} {row.outputs[0]}" for row in texts)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=256, tie_word_embeddings=True, pad_token_id=_PAD, bos_token_id=_SEPARATOR, eos_token_id=_END,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    _train(model, _rows(tokenizer, texts), given.pretraining, 2e-3, 0)
    pretrained = {name: value.clone() for name, value in model.state_dict().items()}
    print("pretrained", sum(value.numel() for value in model.parameters()), flush=True)
    for path, instances in targets:
        if (file := given.output / f"{path.stem}.npz").is_file():
            continue
        shuffled = random.Random(0).sample(instances, len(instances))
        test, metric, language = shuffled[:TEST_ROWS], Chrf(), load_task(path).language
        asked, scored = _rows(tokenizer, test), []
        for seed in range(given.seeds):
            train = _rows(tokenizer, random.Random(seed + 1).sample(shuffled[TEST_ROWS:], MODEL_SIZES[-1]))
            scored.append([])
            for size in MODEL_SIZES:
                model.load_state_dict(pretrained)
                _train(model, train[:size], max(20, min(100, size // 2)), 1e-3, seed)
                answers = _answers(model, tokenizer, asked)
                references, inputs = [list(row.outputs) for row in test], [row.input for row in test]
                scored[-1].append(metric.statistics(answers, references, inputs, language).rows)
        np.savez_compressed(file, model=np.array(scored, dtype=np.float32))
        print(path.stem, [round(float(metric.score_sums(rows.sum(axis=0))), 1) for rows in scored[0]], flush=True)


if __name__ == "__main__":
    main()
