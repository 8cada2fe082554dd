"""Tiny random bases and tasks, made on the spot: everything the tests need of the world outside."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from xeric.bases.base import Base
from xeric.bases.loading import load_base

VOCABULARY = 384
_GQA = dict(hidden_size=32, intermediate_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=8)

SHAPES: dict[str, dict[str, Any]] = {
    "llama": dict(model_type="llama", num_hidden_layers=2, max_position_embeddings=256, **_GQA),
    "qwen3": dict(model_type="qwen3", num_hidden_layers=2, max_position_embeddings=256, **_GQA),
    "gpt2": dict(
        model_type="gpt2", n_embd=32, n_layer=2, n_head=4, n_positions=256, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
    ),
    # Wider than the others: it normalises its embeddings, and answered every input with the same text.
    "bloom": dict(
        model_type="bloom", hidden_size=32, n_layer=2, n_head=4, seq_length=256, tie_word_embeddings=False, initializer_range=0.06
    ),
    # Seven layers: the sixth is the first with full attention, the rest slide; both windows are shorter than any prefix here.
    "gemma3": dict(model_type="gemma3_text", num_hidden_layers=7, max_position_embeddings=256, sliding_window=6, **_GQA),
    "mistral": dict(model_type="mistral", num_hidden_layers=2, max_position_embeddings=256, sliding_window=6, **_GQA),
}

# Encoder-decoder shapes and encoders; ``_TOKENIZERS`` says which kind of tokenizer each has unless its name ends in another.
_BART = dict(
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=64,
    decoder_ffn_dim=64,
    max_position_embeddings=256,
    decoder_start_token_id=2,
    tie_word_embeddings=False,
    dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
)
_T5 = dict(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, n_positions=256, dropout_rate=0.0, decoder_start_token_id=0)
_BERT = dict(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=256,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
SEQ2SEQ: dict[str, dict[str, Any]] = {
    "t5": dict(model_type="t5", **_T5),
    "mt5": dict(model_type="mt5", feed_forward_proj="gated-gelu", tie_word_embeddings=False, **_T5),
    "bart": dict(model_type="bart", init_std=0.12, **_BART),
    "mbart": dict(model_type="mbart", init_std=0.12, scale_embedding=True, **_BART),
}
ENCODERS: dict[str, dict[str, Any]] = {
    # Wider than the others, or it answers most inputs with the same text.
    "bert": dict(model_type="bert", initializer_range=0.03, **_BERT),
    "roberta": dict(model_type="roberta", type_vocab_size=1, **(_BERT | {"max_position_embeddings": 257})),
    "electra": dict(model_type="electra", embedding_size=16, **_BERT),
    # A window of 8 positions to either side in every layer but each third.
    "modernbert": dict(
        model_type="modernbert", layer_types=["full_attention", "sliding_attention"], local_attention=16, cls_token_id=1,
        sep_token_id=2, initializer_range=0.1,
        **{key: value for key, value in _BERT.items() if not key.endswith("_prob")},
    ),
    # It takes no computed keys and values.
    "distilbert": dict(
        model_type="distilbert", dim=32, hidden_dim=64, n_layers=2, n_heads=4, max_position_embeddings=256, dropout=0.0,
        attention_dropout=0.0,
    ),
}  # fmt: skip
_TOKENIZERS = {
    "t5": "unigram",
    "mt5": "unigram",
    "mbart": "unigram",
    "bert": "wordpiece",
    "electra": "wordpiece",
    "distilbert": "wordpiece",
}

# A family with a table of positions of its own, beside GPT-2.
OPT: dict[str, Any] = dict(
    model_type="opt",
    hidden_size=32,
    ffn_dim=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=256,
    word_embed_proj_dim=32,
)

_WORDS = {
    "English": [
        "the",
        "river",
        "ferry",
        "leaves",
        "at",
        "dawn",
        "with",
        "three",
        "red",
        "boats",
        "and",
        "a",
        "quiet",
        "dog",
        "under",
        "grey",
        "cold",
        "rain",
        "near",
        "our",
        "town",
    ],
    "Hindi": [
        "नदी",
        "की",
        "नाव",
        "सुबह",
        "तीन",
        "लाल",
        "बत्तियों",
        "के",
        "साथ",
        "चलती",
        "है",
        "और",
        "एक",
        "शांत",
        "कुत्ता",
        "बारिश",
        "में",
        "हमारे",
        "गाँव",
        "के",
        "पास",
        "सोता",
        "रहता",
    ],
}


def chat_template(end: str = "</s>") -> str:
    """A chat template that ends each turn with ``end``: by default the base's end token, as an instruction-tuned base has it."""
    return (
        f"{{% for m in messages %}}<s>{{{{ m.role }}}}: {{{{ m.content }}}}{end}\n{{% endfor %}}"
        "{% if add_generation_prompt %}<s>assistant: {% endif %}"
    )


def tokenizer(*, bos: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on a few sentences; ``bos`` puts ``<s>`` first as Llama's does."""
    from tokenizers.processors import TemplateProcessing

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(_sentences(), trainer)
    if bos:
        raw.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<s>" if bos else None, eos_token="</s>")


def framed_tokenizer(kind: str, shape: str) -> PreTrainedTokenizerFast:
    """A tokenizer of a kind (bpe, unigram, wordpiece) that puts around a text what the shape's own would."""
    from tokenizers.processors import TemplateProcessing

    special = ["<pad>", "<s>", "</s>", "<unk>", "<mask>", "<code>"]
    raw = _BUILDERS[kind](special)
    frames = {"t5": "$A </s>", "mt5": "$A </s>", "mbart": "<code> $A </s>", "llama": "<s> $A"}
    numbers = [(token, number) for number, token in enumerate(special)]
    raw.post_processor = TemplateProcessing(single=frames.get(shape, "<s> $A </s>"), special_tokens=numbers)
    own = (
        dict(cls_token="<s>", sep_token="</s>", mask_token="<mask>")
        if shape in ENCODERS
        else dict(bos_token="<s>", eos_token="</s>")
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>", additional_special_tokens=["<code>"], **own
    )


def _bpe(special: list[str]) -> Tokenizer:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    settings: dict[str, Any] = dict(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    raw.train_from_iterator(_sentences(), trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **settings))
    return raw


# The library's trainers of the two other kinds give another vocabulary in every process: these are made by hand, of characters
# and words.
def _wordpiece(special: list[str]) -> Tokenizer:
    pieces = _numbered([*special, *_characters(), *(f"##{character}" for character in _characters()), *_words()])
    raw = Tokenizer(models.WordPiece(pieces, unk_token="<unk>"))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    return raw


def _unigram(special: list[str]) -> Tokenizer:
    pieces = _numbered([*special, "▁", *_characters(), *(f"▁{word}" for word in _words())])
    scores = [(piece, -8.0 if len(piece) == 1 else -4.0) for piece in pieces]
    raw = Tokenizer(models.Unigram(scores, special.index("<unk>"), False))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    raw.add_special_tokens(special)
    return raw


_BUILDERS = {"bpe": _bpe, "unigram": _unigram, "wordpiece": _wordpiece}


def _sentences() -> list[str]:
    return [" ".join(words) for words in _WORDS.values()] * 4


def _words() -> list[str]:
    return [word for words in _WORDS.values() for word in words]


def _characters() -> list[str]:
    return sorted({character for word in _words() for character in word})


def _numbered(pieces: list[str]) -> dict[str, int]:
    """Each piece once, with its number, as many as the tables of the bases have rows."""
    return {piece: number for number, piece in enumerate(list(dict.fromkeys(pieces))[:VOCABULARY])}


def write_base(
    folder: Path, shape: str = "llama", *, seed: int = 0, bos: bool = True, chat_template: str | None = None, **changes: Any
) -> Path:
    """Write a random base of a shape (``t5``, or ``t5-bpe`` with another tokenizer) into a folder in the Hugging Face layout."""
    shape, _, kind = shape.partition("-")
    settings = {**(SHAPES | SEQ2SEQ | ENCODERS)[shape], **changes}
    config = AutoConfig.for_model(
        settings.pop("model_type"), vocab_size=VOCABULARY, pad_token_id=0, bos_token_id=1, eos_token_id=2, **settings
    )
    make = AutoModelForSeq2SeqLM if shape in SEQ2SEQ else AutoModelForMaskedLM if shape in ENCODERS else AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make.from_config(config)
        # Default initialisation is so small that every continuation is near a tie; wider weights make texts that differ.
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data.mul_(4.0)
        if shape in (
            "t5",
            "mt5",
        ):  # else padding, which begins its targets, is all that it ever predicts: one table embeds and predicts
            model.get_input_embeddings().weight.data[:1] = 0.0
    if shape == "mbart":
        model.generation_config.forced_bos_token_id = 5
    model.save_pretrained(folder)
    if kind or shape not in SHAPES:
        made = framed_tokenizer(kind or _TOKENIZERS.get(shape, "bpe"), shape)
    else:
        made = tokenizer(bos=bos)
    made.chat_template = chat_template
    made.save_pretrained(folder)
    return folder


def open_base(folder: Path, shape: str = "llama", **changes: Any) -> Base:
    """Write a random base and open it."""
    return load_base(str(write_base(folder / shape, shape, **changes)), device="cpu", precision="fp32")


def task_data(name: str, *, instances: int = 80, language: str = "English", seed: int = 0) -> dict[str, Any]:
    """A task file's content: say the input's words backwards. Inputs differ enough to be no near-duplicates of each other."""
    rng = random.Random(f"{name}{seed}")

    def pair() -> tuple[str, str]:
        words = [
            rng.choice(_WORDS[language]) + (str(rng.randrange(1000)) if rng.random() < 0.4 else "")
            for _ in range(rng.randrange(4, 9))
        ]
        return " ".join(words), " ".join(reversed(words))

    examples = [pair() for _ in range(4)]
    return {
        "Definition": ["Say the words of the input in the reverse order."],
        "Input_language": [language],
        "Output_language": [language],
        "Instruction_language": ["English"],
        "Categories": ["Reversal"],
        "Domains": [],
        "Positive Examples": [{"input": x, "output": y, "explanation": ""} for x, y in examples],
        "Negative Examples": [],
        "Instances": [
            {"id": f"{name}-{n}", "input": x, "output": [y]} for n, (x, y) in enumerate(pair() for _ in range(instances))
        ],
        "Instance License": ["Apache-2.0"],
    }


def write_task(folder: Path, name: str, **options: Any) -> Path:
    """Write a task file and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(task_data(name, **options), ensure_ascii=False), encoding="utf-8")
    return path
