"""The model card of a converted base: what it is, where it came from, its licence, and its bits per character."""

from __future__ import annotations

from xeric.bases.conversion import Converted
from xeric.bases.named import GEMMA_NOTICE, NamedBase

__all__ = ["model_card"]


def model_card(conversion: Converted, sha256: str, named: NamedBase | None) -> str:
    """Return the card in Markdown.

    Args:
        conversion: of the file.
        sha256: of the GGUF file.
        named: the entry of the base, where it has a name.
    """
    title = named.title if named else conversion.file.title
    stated = named.license if named else conversion.file.license or "not stated in the file"
    lines = [f"# {title}", ""]
    if named:
        lines += [f"{named.summary}. Made by the model's authors: {named.model_url}", ""]
    lines += [
        "Converted by Xeric from a GGUF file; nothing was trained.",
        "",
        "| | |",
        "|---|---|",
        f"| architecture | {conversion.model_type} |",
        f"| parameters | {conversion.parameters:,} |",
        f"| context | {conversion.context or 'not stated'} |",
        f"| GGUF file | SHA-256 `{sha256}` |",
        *([f"| quantisation of the file | {named.quantization} |"] if named else []),
        f"| weights kept in | {conversion.stored} (computed in float32 unless asked otherwise) |",
        f"| licence | {stated}{f', {named.license_url}' if named else ''} |",
        "",
        "Bits per character of a fixed passage (minus log2-likelihood over characters; lower is better), measured on this folder",
        f"in float32; keeping the weights in {conversion.stored} moves them by {conversion.lost:.4f} at most:",
        "",
        "| " + " | ".join(conversion.bits_per_character) + " |",
        "|" + "---:|" * len(conversion.bits_per_character),
        "| " + " | ".join(f"{bits:.3f}" for bits in conversion.bits_per_character.values()) + " |",
    ]
    remarks = [*conversion.remarks, *([GEMMA_NOTICE] if "gemma" in stated.lower() else [])]
    lines += ["", *remarks] if remarks else []
    return "\n".join(lines) + "\n"
