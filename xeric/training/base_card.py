"""The model card of a pretrained base: what it was made of, how, and how good it is."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xeric.records import versions
from xeric.training.corpus import Corpus
from xeric.training.pretrain_config import PretrainConfig
from xeric.training.pretrain_progress import PretrainResult

__all__ = ["card_text"]


def card_text(config: PretrainConfig, corpus: Corpus, result: PretrainResult, shown: list[tuple[str, str, str]]) -> str:
    """Return the model card.

    Args:
        config: what was asked for.
        corpus: what was learned from.
        result: how the training went.
        shown: samples, as from :func:`samples`.
    """
    parts = [_header(config, result), _data(config, corpus), _tasks(config, corpus), _training(config, corpus, result)]
    return "\n\n".join([*parts, _measures(result.measures), _samples(shown), _limits()]) + "\n"


def _header(config: PretrainConfig, result: PretrainResult) -> str:
    languages = list(config.corpus.text)
    return (
        f"# {config.title}\n\n"
        f"A causal language model of {result.parameters:,} parameters for {_listed(languages)}, made by `xeric pretrain` to be "
        "adapted to small text-generation tasks. It is a starting point for experiments on a laptop, no source of knowledge.\n\n"
        "```python\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")\n'
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")\n'
        "```\n\n"
        "Rows it was trained on look like this; text of the output ends with `</s>`:\n\n"
        "```\n<s>{definition}\n\nInput: {input}\nOutput: {output}\n\nInput: {input}\nOutput:\n```"
    )


def _data(config: PretrainConfig, corpus: Corpus) -> str:
    lines = ["## Text", "", "| file | origin | licence as stated | characters used |", "|---|---|---|---:|"]
    for language, sources in config.corpus.text.items():
        used = corpus.counts["text"][language]["files"]
        lines += [f"| {s.file} | {s.origin} | {s.license} | {used.get(s.file, 0):,} |" for s in sources]
    lines += [
        "",
        "| | documents | characters | held out (documents) | dropped as duplicates | dropped for leaks |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for language, counts in corpus.counts["text"].items():
        held = f"{counts['held_out_characters']:,} ({counts['held_out_documents']})"
        drops = f"{counts.get('duplicates', 0)} | {counts.get('leaks', 0)}"
        lines.append(f"| {language} | {counts['documents']:,} | {counts['characters']:,} | {held} | {drops} |")
    why = (
        "Dropped for leaks: documents that share a sequence of 13 words (40 characters of shorter texts) with an input or output "
        f"of {len(config.corpus.target_tasks)} target tasks: {_names(config.corpus.target_tasks)}."
    )
    lines += ["", why]
    return "\n".join(lines)


def _tasks(config: PretrainConfig, corpus: Corpus) -> str:
    counts = corpus.counts["tasks"]
    by_license: dict[str, list[str]] = {}
    for name, licenses in counts["licenses"].items():
        by_license.setdefault(", ".join(licenses) or "not stated", []).append(f"`{name}`")
    what = (
        f"{len(config.corpus.source_tasks)} tasks of Natural Instructions v2, {counts.get('instances', 0):,} instances; dropped: "
        f"{counts.get('leaks', 0)} for leaks, {counts.get('empty', 0)} for empty texts. Kept out to choose the mixture by: "
        f"{_names(config.corpus.dev_tasks)}."
    )
    lines = ["## Source tasks", "", what, "", "| licence of the instances | tasks |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {', '.join(tasks)} |" for name, tasks in sorted(by_license.items()))])


def _training(config: PretrainConfig, corpus: Corpus, result: PretrainResult) -> str:
    mixture = config.mixture
    state = "" if result.finished else " The training is not finished."
    return (
        "## Training\n\n"
        f"- {result.steps:,} steps, {result.tokens:,} tokens (padding included), {result.characters:,} characters; "
        f"{_weights(result)}.{state}\n"
        f"- Each step: {mixture.tokens} tokens of plain text, every token a target (weight {1 - mixture.row_loss:g}), and "
        f"{mixture.tokens} tokens of rows in the prompt's layout, outputs only (weight {mixture.row_loss:g}); "
        f"{mixture.source_share:.0%} of the rows come from source tasks, the rest are exercises made from the same texts: copy, "
        "pick, delete, order, fill, compress, continue.\n"
        f"- {config.optimizer.kind}, learning rate {config.optimizer.lr:g}, warm-up, level, linear decay over the last "
        f"{config.schedule.decay_characters:,} characters; {config.precision}; seed {config.seed}.\n"
        f"- {result.seconds / 3600:.2f} hours on {_machine()}; {_versions()}.\n"
        f"- Corpus fingerprint `{corpus.fingerprint[:16]}`."
    )


def _weights(result: PretrainResult) -> str:
    if result.best_step is None:
        return "the last weights, not measured"
    return f"weights of step {result.best_step}, the lowest bits per character on held-out text"


def _machine() -> str:
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        name = next(
            (line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")), name
        )
    return f"{os.cpu_count()} CPU cores ({name})"


def _versions() -> str:
    found = versions()
    return ", ".join(f"{package} {found[package]}" for package in ("torch", "transformers", "tokenizers"))


def _measures(measures: Mapping[str, Any]) -> str:
    lines = ["## Measured on held-out text", ""]
    if not measures:
        return "\n".join([*lines, "Not measured yet."])
    bits = measures["bits_per_character"]
    lines += ["| bits per character | |", "|---|---:|", *(f"| {name} | {value:.3f} |" for name, value in bits.items()), ""]
    lines += ["The first 512 tokens of each held-out document, each document read from its beginning.", ""]
    lines += ["| exact copies, by language and number of words | |", "|---|---:|"]
    lines += [f"| {name} | {value:.0%} |" for name, value in measures["copy_accuracy"].items()]
    if passages := measures.get("passages"):
        lines += ["", "| reference passage of `xeric.training.reference_passages` | bits per character |", "|---|---:|"]
        lines += [f"| {name} passage | {value:.3f} |" for name, value in passages.items()]
    lines += _beside(measures.get("beside") or {})
    if measures.get("dev"):
        lines += [
            "",
            "| dev task, ROUGE-L, nothing adapted | definition only | with 2 demonstrations | copy of the input |",
            "|---|---:|---:|---:|",
        ]
        for name, values in measures["dev"].items():
            cells = [values[part] for part in ("zero-shot", "few-shot", "copy")]
            lines.append(f"| {name} | {' | '.join('too long' if cell is None else f'{cell:.1f}' for cell in cells)} |")
    return "\n".join(lines)


def _beside(measures: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not measures:
        return []
    names = list(next(iter(measures.values())))
    lines = ["", f"| bits per character, held-out text | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    lines += [f"| {language} | {' | '.join(f'{row[name]:.3f}' for name in names)} |" for language, row in measures.items()]
    return [*lines, "", "The first 1,000 characters of documents that none of these bases was trained on, the same for each."]


def _samples(shown: list[tuple[str, str, str]]) -> str:
    rows = [f"**{what}**\n\n> {_quoted(prompt)} **|** {_quoted(text)}" for what, prompt, text in shown]
    return "\n\n".join(["## Samples, as they come", "Greedy; before the bar what was given.", *rows])


def _quoted(text: str) -> str:
    return text.replace("\n", " / ")


def _limits() -> str:
    return (
        "## Limits\n\n"
        "A few million parameters and a few hours of reading: it knows almost nothing about the world, invents freely, and "
        "repeats itself in long texts. Most of its text is old literature, with the views of its time. Use it for what it was "
        "made for: to compare ways of adapting a model where data and hardware are scarce."
    )


def _names(tasks: Sequence[str]) -> str:
    return _listed([f"`{name}`" for name in tasks]) or "none"


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
