"""A base as an ordinary Hugging Face folder: a new model of a shape, what it writes, and its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from xeric.errors import UserError
from xeric.records import write_atomically
from xeric.training.bpe import BOS, EOS, PAD, SPECIAL
from xeric.training.corpus import Corpus
from xeric.training.dev_tasks import generate
from xeric.training.mixture import Mixture
from xeric.training.pretrain_config import Shape

__all__ = ["BASE_FILES", "new_model", "publish_base", "samples", "write_base"]

BASE_FILES = (
    "README.md",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
)
"""What a base consists of; the rest of a training's folder is not needed to use it. The weights come last."""

_SAMPLE_TOKENS = 60


def new_model(shape: Shape, vocabulary: int, seed: int) -> Any:
    """Return a randomly initialised model of a shape, embeddings tied."""
    kind: Any = LlamaConfig if shape.model_type == "llama" else Qwen3Config
    settings = kind(
        **shape.model_dump(exclude={"model_type", "rope_theta"}),
        vocab_size=vocabulary,
        head_dim=shape.hidden_size // shape.num_attention_heads,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return (LlamaForCausalLM if shape.model_type == "llama" else Qwen3ForCausalLM)(settings)


def write_base(folder: Path, model: Any, weights: Mapping[str, torch.Tensor], corpus: Corpus, card: str) -> None:
    """Write config, bf16 weights, tokenizer and card into ``folder``; the weights last, so that a new base is there whole or not.

    Args:
        folder: where to.
        model: whose config to write.
        weights: its parameters by name; embeddings are tied and stand once.
        corpus: whose tokenizer to write.
        card: the text of ``README.md``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.config.dtype = torch.bfloat16
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    context = int(model.config.max_position_embeddings)
    special = dict(zip(("pad_token", "bos_token", "eos_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=corpus.tokenizer, model_max_length=context, **special).save_pretrained(folder)
    write_atomically(folder / "README.md", card)
    tensors = {
        name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in weights.items() if name != "lm_head.weight"
    }
    write_atomically(folder / "model.safetensors", save(tensors, metadata={"format": "pt"}))


def publish_base(folder: Path, target: Path) -> list[Path]:
    """Copy a base out of its training's folder, without corpus and state; an older copy is replaced.

    Args:
        folder: of the training.
        target: made where it is missing.

    Raises:
        UserError: the target holds files of something else.
    """
    found = {path.name for path in target.iterdir()} if target.is_dir() else set()
    if (target.exists() and not target.is_dir()) or (found and (found - {*BASE_FILES} or "config.json" not in found)):
        raise UserError("holds files that are not a base's", where=str(target), hint="publish into a folder of its own")
    for name in BASE_FILES:
        write_atomically(target / name, (folder / name).read_bytes())
    return [target / name for name in BASE_FILES]


def samples(model: Any, corpus: Corpus, mixture: Mixture) -> list[tuple[str, str, str]]:
    """Return ``(what, prompt, text)`` of greedy texts: in each language a continuation, a copy, a shortening; those that fit."""
    asked: list[tuple[str, str, list[int]]] = []
    for language, places in corpus.held_out.items():
        words = corpus.texts(places[:1])[0].split()
        opening, sentence = " ".join(words[:12]), " ".join(words[:20])
        asked.append((f"{language}, plain text", opening, [BOS, *_ids(corpus, opening)]))
        for definition in ("Copy the text exactly as it is.", "Shorten the sentence by leaving out what is not necessary."):
            row, targets = mixture.encode(definition, [(sentence, "x")])
            asked.append((f"{language}, {definition}", sentence, row[: min(targets)]))
    context = int(model.config.max_position_embeddings)
    asked = [row for row in asked if len(row[2]) + _SAMPLE_TOKENS <= context]
    texts = generate(model, corpus, [ids for _, _, ids in asked], _SAMPLE_TOKENS)
    return [(what, prompt, text) for (what, prompt, _), text in zip(asked, texts, strict=True)]


def _ids(corpus: Corpus, text: str) -> list[int]:
    return list(corpus.tokenizer.encode(text, add_special_tokens=False).ids)
