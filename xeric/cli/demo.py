"""``xeric demo``: the whole path once, on a bundled task.

No pretrained bases are bundled yet, so the base is small and random and the texts are nonsense; the command says so.
What it shows is the path: clean, split, train, decode, score, record.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["TASK", "demo_settings", "write_random_base"]

TASK = "summarization_en"


def write_random_base(folder: Path, texts: list[str], *, vocabulary: int = 1024, seed: int = 0) -> None:
    """Write a small Llama with random weights and a byte-level tokenizer made of ``texts``, in the Hugging Face layout."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator(texts, trainer)
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(folder)


def demo_settings(base: Path) -> dict[str, object]:
    """Return the settings of the demonstration's run."""
    return {
        "tasks": [TASK],
        "base": str(base),
        "method": {"name": "full"},
        "train": {"epochs": 15, "lr": 1e-3},
        "decode": {"max_new_tokens": 40},
        "device": "cpu",
        "precision": "fp32",
    }
