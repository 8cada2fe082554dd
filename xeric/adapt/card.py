"""``README.md`` of an adaptation: a model card that says what it is, how good it is, and how to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xeric import formatting
from xeric.adapt.outcome import Outcome, lines
from xeric.bases.named import GEMMA_NOTICE, NAMED_BASES
from xeric.languages import language_or_unknown
from xeric.metrics import quality_metrics
from xeric.report.wording import metric_name
from xeric.yaml_io import dump_yaml

__all__ = ["model_card"]

_EXPORT = "`xeric export` makes folders for PEFT, transformers and llama.cpp of it."


def model_card(outcome: Outcome, fingerprint: str) -> str:
    """Return the card in Markdown, with the header that the model hub reads.

    Args:
        outcome: what was found.
        fingerprint: SHA-256 of the data that the final training used.
    """
    named = NAMED_BASES.get(outcome.base) if outcome.base in NAMED_BASES else None
    base = outcome.base if named else Path(outcome.base).name
    license_ = named.license if named else "that of the base"
    header: dict[str, Any] = {
        "base_model": base,
        "language": [language_or_unknown(outcome.language).code],
        "license": license_.lower() if license_ == "Apache-2.0" else "gemma" if "Gemma" in license_ else "other",
        "pipeline_tag": "text-generation",
        "tags": ["xeric"],
    }
    parts = [
        f"---\n{dump_yaml(header).strip()}\n---",
        f"# {outcome.task}",
        "\n".join(f"- {line}" for line in lines(outcome)),
        _facts(outcome, base, license_, fingerprint),
        _scores(outcome),
    ]
    if outcome.command:
        parts.append(f"## Use\n\n```bash\n{outcome.command}\n```\n\n{_EXPORT}")
    if "gemma" in f"{license_} {base}".lower():
        parts.append(GEMMA_NOTICE)
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(outcome: Outcome, base: str, license_: str, fingerprint: str) -> str:
    counts = outcome.examples
    rows = {
        "instruction": outcome.definition,
        "base": base,
        "licence of the base": license_,
        "language": outcome.language,
        "trained on": f"{counts.get('train', 0)} examples, tested on {counts.get('test', 0)} others",
        "data fingerprint": f"SHA-256 `{fingerprint}`",
    }
    table = [f"| {key} | {' '.join(str(value).split()).replace('|', chr(92) + '|')} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *table])


def _scores(outcome: Outcome) -> str:
    names = [name for name in quality_metrics() if any(name in arm.scores for arm in outcome.compared)]
    if not names:
        return ""
    table = [f"| on test, 95% intervals | {' | '.join(map(metric_name, names))} |", "|---|" + "---:|" * len(names)]
    for arm in outcome.compared:
        cells = [arm.scores.get(name) for name in names]
        shown = [formatting.estimate(cell.value, cell.low, cell.high) if cell else "" for cell in cells]
        table.append(f"| {arm.label} | {' | '.join(shown)} |")
    return "## Scores\n\n" + "\n".join(table)
